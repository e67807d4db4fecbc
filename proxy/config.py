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
_HOST_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_HOST_LABEL}(?:\.{_HOST_LABEL})*\.?")
"""As DNS has them, and with underscores, as containers are called."""

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
    hosts: tuple[str, ...] = ()
    """Names by which the wallet may be called."""


def read_proxy_settings(environment: Mapping[str, str]) -> ProxySettings:
    """Raise Unfit with a sentence that names the variable and what it should be."""
    settings = ProxySettings(
        service=read_service_settings(environment),
        host=environment.get("EWALLET_HTTP_HOST", "127.0.0.1"),
        port=read_number(environment, "EWALLET_HTTP_PORT", default=8080, least=1, most=65_535),
        coordination=_read_coordination(environment),
        origins=_read_origins(environment),
        hosts=_read_hosts(environment),
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


def _read_hosts(environment: Mapping[str, str]) -> tuple[str, ...]:
    hosts = _read_list(environment, "EWALLET_HTTP_HOSTS")
    for host in hosts:
        if not _HOST_NAME.fullmatch(host):
            raise Unfit(
                "EWALLET_HTTP_HOSTS holds names by which the wallet is called, separated by commas"
                f" and without scheme or port, such as wallet.example,proxy-1; {host!r} is none."
            )
    return hosts


def _read_list(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """What stands between commas, also where that is nothing: a name was left out there."""
    whole = environment.get(name, "").strip()
    return tuple(text.strip() for text in whole.split(",")) if whole else ()


def _read_origins(environment: Mapping[str, str]) -> tuple[str, ...]:
    origins = _read_list(environment, "EWALLET_HTTP_ORIGINS")
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise Unfit(
                "EWALLET_HTTP_ORIGINS holds origins as browsers send them, separated by commas,"
                f" such as https://shop.example; {origin!r} is none."
            )
    return origins
