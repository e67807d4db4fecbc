"""Settings of the proxy."""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from contracts.coordination import COORDINATION_NAMES, Coordination
from proxy.core.fields import COORDINATIONS
from runtime.process import Unfit
from runtime.settings import ServiceSettings, is_loopback, read_number, read_service_settings

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\[\]:-]+")

_COORDINATION_DEFAULT: Final = COORDINATION_NAMES[Coordination.CHOREOGRAPHY]


class ProxySettings(Struct, frozen=True):
    """Where the proxy listens, and what it shares with the other services."""

    service: ServiceSettings
    host: str
    port: int
    coordination: Coordination
    """Of transfers between partitions that come without a choice of their own."""
    origins: tuple[str, ...] = ()
    """Of pages on other hosts that may watch accounts."""


def read_proxy_settings(environment: Mapping[str, str]) -> ProxySettings:
    """Raise Unfit with a sentence that names the variable and what it should be."""
    settings = ProxySettings(
        service=read_service_settings(environment),
        host=environment.get("EWALLET_HTTP_HOST", "127.0.0.1"),
        port=read_number(environment, "EWALLET_HTTP_PORT", default=8080, least=1, most=65_535),
        coordination=_read_coordination(environment),
        origins=_read_origins(environment),
    )
    if not is_loopback(settings.host) and environment.get("EWALLET_INSECURE") != "1":
        raise Unfit(
            f"EWALLET_HTTP_HOST={settings.host} is reachable from outside and there is no "
            "authentication yet: anybody could move money. Use 127.0.0.1, or set "
            "EWALLET_INSECURE=1 if something else guards the port."
        )
    return settings


def _read_coordination(environment: Mapping[str, str]) -> Coordination:
    name = environment.get("EWALLET_COORDINATION", "") or _COORDINATION_DEFAULT
    if name not in COORDINATIONS:
        raise Unfit(
            f"EWALLET_COORDINATION must be one of {', '.join(COORDINATIONS)}, not {name!r}."
        )
    return COORDINATIONS[name]


def _read_origins(environment: Mapping[str, str]) -> tuple[str, ...]:
    texts = environment.get("EWALLET_HTTP_ORIGINS", "").split(",")
    origins = tuple(text.strip() for text in texts if text.strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise Unfit(
                "EWALLET_HTTP_ORIGINS holds origins as browsers send them, separated by commas,"
                f" such as https://shop.example; {origin!r} is none."
            )
    return origins
