"""Settings of the proxy."""

from collections.abc import Mapping

from msgspec import Struct

from runtime.process import Unfit
from runtime.settings import ServiceSettings, is_loopback, read_number, read_service_settings


class ProxySettings(Struct, frozen=True):
    """Where the proxy listens, and what it shares with the other services."""

    service: ServiceSettings
    host: str
    port: int


def read_proxy_settings(environment: Mapping[str, str]) -> ProxySettings:
    """Raise Unfit with a sentence that names the variable and what it should be."""
    settings = ProxySettings(
        service=read_service_settings(environment),
        host=environment.get("EWALLET_HTTP_HOST", "127.0.0.1"),
        port=read_number(environment, "EWALLET_HTTP_PORT", default=8080, least=1, most=65_535),
    )
    if not is_loopback(settings.host) and environment.get("EWALLET_INSECURE") != "1":
        raise Unfit(
            f"EWALLET_HTTP_HOST={settings.host} is reachable from outside and there is no "
            "authentication yet: anybody could move money. Use 127.0.0.1, or set "
            "EWALLET_INSECURE=1 if something else guards the port."
        )
    return settings
