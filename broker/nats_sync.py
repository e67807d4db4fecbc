"""Whether each server of a cluster fsyncs every write before it acknowledges it.

Only a server's monitoring address tells: with the default `sync_interval` of two minutes an
acknowledged journal frame would be lost by a power cut.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import msgspec

from broker.nats_monitoring import fetch
from broker.port import BrokerFault, BrokerUnfit

_log = logging.getLogger(__name__)

_ASKED_AGAIN_S: Final = 2.0


class _JetStreamConfig(msgspec.Struct):
    sync_always: bool = False


class _JetStreamVarz(msgspec.Struct):
    config: _JetStreamConfig | None = None


class _Varz(msgspec.Struct):
    jetstream: _JetStreamVarz


async def check_sync_always(monitor_urls: str, replicas: int = 1) -> list[str]:
    """Ask each of the monitoring addresses (separated by commas); return those of silent servers.

    A silent server acknowledges nothing now: `ask_the_rest` asks it when it is back, so that a
    writer can start while one server of a cluster is down. Raise BrokerUnfit for a server that
    does not sync always and for fewer addresses than replicas, BrokerFault when nobody answers.
    """
    urls = [url.strip() for url in monitor_urls.split(",")]
    if len(urls) < replicas:
        raise BrokerUnfit(
            f"EWALLET_NATS_MONITOR_URL names {len(urls)} servers and EWALLET_REPLICAS is "
            f"{replicas}: name the monitoring address of every server, separated by commas."
        )
    answers = await asyncio.gather(*(_is_checked(url) for url in urls))
    silent = [url for url, is_checked in zip(urls, answers, strict=True) if not is_checked]
    if len(silent) == len(urls):
        raise BrokerFault(
            f"{monitor_urls} does not tell whether the server syncs always. Set "
            "EWALLET_NATS_MONITOR_URL to the monitoring address of nats-server (`http: …`)."
        )
    return silent


async def ask_the_rest(silent: Sequence[str]) -> None:
    """Ask the servers that were silent until each has answered; raise BrokerUnfit as above."""
    while silent:
        await asyncio.sleep(_ASKED_AGAIN_S)
        silent = [url for url in silent if not await _is_checked(url)]


async def _is_checked(monitor_url: str) -> bool:
    """Whether a server says that it syncs always; False if it says nothing. Raise BrokerUnfit."""
    url = f"{monitor_url.rstrip('/')}/varz"
    if not url.startswith("http://"):
        raise BrokerUnfit(f"EWALLET_NATS_MONITOR_URL must be an http:// address, not {url!r}.")
    try:
        body = await asyncio.to_thread(fetch, url)
    except OSError as error:
        _log.warning("%s does not answer now: %s", url, error)
        return False
    try:
        jetstream = msgspec.json.decode(body, type=_Varz).jetstream.config
    except msgspec.DecodeError as error:
        raise BrokerUnfit(f"{url} is not the monitoring address of a nats-server.") from error
    if jetstream is None or not jetstream.sync_always:
        raise BrokerUnfit(
            f"nats-server at {monitor_url} runs without `sync_interval: always`: a power cut would "
            "lose acknowledged transfers. Set it in the server's jetstream block and restart it."
        )
    return True
