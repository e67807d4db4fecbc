"""The composition root of the proxy: settings in, an open port out."""

import asyncio
import os
import resource
import secrets
from typing import Final

from aiohttp import web

from broker.nats_broker import NatsBroker
from broker.port import Broker
from contracts.partitioning import SlotMap
from contracts.status import ProxyStatus, encode_status
from contracts.subjects import status_subject
from proxy.adapters.http_server import HttpLimits, HttpServer, listen
from proxy.config import ProxySettings, read_proxy_settings
from proxy.service.changes import BrokerWatches
from proxy.service.gateway import BrokerGateway
from runtime.process import Unfit, lose, once_there, run_until, say_ready, unless_stopped

_OTHER_FILES: Final = 100
"""That a proxy has open besides its clients' connections."""


async def serve(stop: asyncio.Event) -> None:
    """Serve HTTP until stop is set."""
    settings = read_proxy_settings(os.environ)
    proxy_id = f"proxy-{secrets.token_hex(6)}"
    connecting = NatsBroker.connect(settings.service.nats_url, name=proxy_id, role="proxy")
    broker = await unless_stopped(stop, connecting)
    try:
        await run_until(stop, lose(broker), _serve(broker, proxy_id, settings))
    finally:
        await broker.close()


async def _serve(broker: Broker, proxy_id: str, settings: ProxySettings) -> None:
    """Serve until cancelled, as soon as it is known where accounts live."""
    slots = await wallets_slot_map(broker, settings.service.partition_count)
    gateway = BrokerGateway(broker, proxy_id, slots)
    watches = BrokerWatches(broker, proxy_id, slots, gateway)
    limits = HttpLimits()
    _allow_connections(limits.connections_max)
    server = HttpServer(
        gateway,
        watches,
        limits,
        settings.coordination,
        origins=settings.origins,
        # Who makes it listen by a name calls it so.
        hosts=(settings.host, *settings.hosts),
    )
    await _serve_status(broker, proxy_id, gateway)
    async with asyncio.TaskGroup() as works:
        works.create_task(gateway.run())
        works.create_task(watches.run())
        works.create_task(_serve_http(server, settings))


async def _serve_status(broker: Broker, proxy_id: str, gateway: BrokerGateway) -> None:
    """Tell who asks what this process has answered."""
    pace = gateway.pace

    async def answer(_request: bytes) -> bytes:
        counts = list(pace.latency_counts)
        return encode_status(ProxyStatus(proxy_id, pace.completed, pace.refused, counts))

    await broker.serve(status_subject("proxy"), answer)


def _allow_connections(count: int) -> None:
    """Let this process have as many files open as it takes connections, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


async def wallets_slot_map(broker: Broker, partition_count: int) -> SlotMap:
    """The wallet's slot map, once there is one. Raise Unfit if it has other partitions."""
    slots = await once_there(broker, broker.slot_map, "the slot map")
    if slots.partition_count != partition_count:
        raise Unfit(
            f"The wallet has {slots.partition_count} partitions, not {partition_count}: set "
            f"EWALLET_PARTITIONS={slots.partition_count}."
        )
    return slots


async def _serve_http(server: HttpServer, settings: ProxySettings) -> None:
    """Serve until cancelled."""
    runner = await _listen(server, settings)
    try:
        say_ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def _listen(server: HttpServer, settings: ProxySettings) -> web.ServerRunner:
    try:
        return await listen(server, host=settings.host, port=settings.port, reuse_port=True)
    except OSError as error:
        raise Unfit(f"Can't listen on {settings.host}:{settings.port}: {error}") from error
