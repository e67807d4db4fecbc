"""Settings of the sentinel, from `EWALLET_*` variables, frozen."""

from collections.abc import Mapping

from msgspec import Struct

from runtime.process import Unfit
from runtime.settings import read_nats_url


class SentinelSettings(Struct, frozen=True):
    """The servers of the cluster."""

    servers: list[tuple[str, str]]
    """Of each its monitoring address and its NATS address; the second is secret."""


def read_sentinel_settings(environment: Mapping[str, str]) -> SentinelSettings:
    """Raise Unfit with a sentence that names the variable and what it should be."""
    nats_urls = _split(read_nats_url(environment))
    monitor_urls = _split(environment.get("EWALLET_NATS_MONITOR_URL", "http://127.0.0.1:8222"))
    if len(nats_urls) != len(monitor_urls):
        raise Unfit(
            "EWALLET_NATS_URL and EWALLET_NATS_MONITOR_URL must name the same servers in the same "
            f"order, not {len(nats_urls)} and {len(monitor_urls)}."
        )
    for url in monitor_urls:
        if not url.startswith("http://"):
            raise Unfit(f"EWALLET_NATS_MONITOR_URL must have http:// addresses, not {url!r}.")
    return SentinelSettings(list(zip(monitor_urls, nats_urls, strict=True)))


def _split(urls: str) -> list[str]:
    return [url.strip() for url in urls.split(",")]
