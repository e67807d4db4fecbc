"""Settings that every service shares, read from `EWALLET_*` variables once and frozen."""

import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from contracts.limits import PARTITION_COUNT_MAX
from runtime.process import Unfit

DATA_DIR_DEFAULT: Final = ".ewallet"

REPLICAS_MAX: Final = 5
"""JetStream keeps no more copies of a stream."""

_PASSWORD: Final = re.compile(r"[A-Za-z0-9._~-]+")
"""What stands in an address as it is: nats-py does not decode what would have to be escaped."""


class ServiceSettings(Struct, frozen=True):
    """Where the broker is, how many partitions there are, where files may be kept."""

    nats_url: str
    """The addresses of the NATS servers, separated by commas. Secret: they hold the password."""
    nats_monitor_url: str
    """The monitoring addresses of all of them, likewise."""
    partition_count: int
    data_dir: Path
    replicas: int = 1
    """Servers that hold a copy of each journal and queue."""


def read_service_settings(environment: Mapping[str, str]) -> ServiceSettings:
    """Raise Unfit with a sentence that names the variable and what it should be."""
    return ServiceSettings(
        nats_url=read_nats_url(environment),
        nats_monitor_url=environment.get("EWALLET_NATS_MONITOR_URL", "http://127.0.0.1:8222"),
        partition_count=read_number(
            environment, "EWALLET_PARTITIONS", default=None, least=1, most=PARTITION_COUNT_MAX
        ),
        data_dir=Path(environment.get("EWALLET_DATA_DIR", DATA_DIR_DEFAULT)),
        replicas=read_number(
            environment, "EWALLET_REPLICAS", default=1, least=1, most=REPLICAS_MAX
        ),
    )


def read_number(
    environment: Mapping[str, str], name: str, *, default: int | None, least: int, most: int
) -> int:
    """A whole number within bounds, or Unfit; so is a missing one without a default."""
    text = environment.get(name, "")
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise Unfit(f"{name} must be a whole number from {least} to {most}, not {text!r}.")
    return int(text)


def read_secret(environment: Mapping[str, str], name: str) -> str | None:
    """The content of the file that the variable `<name>_FILE` names, without its line's end.

    None if there is no such variable. Raise Unfit if the file can't be read or holds nothing.
    """
    path = environment.get(f"{name}_FILE")
    if not path:
        return None
    try:
        secret = Path(path).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise Unfit(f"{name}_FILE names {path}, which can't be read: {fault}.") from fault
    if not secret:
        raise Unfit(f"{name}_FILE names {path}, which is empty.")
    return secret


def read_nats_url(environment: Mapping[str, str]) -> str:
    """The addresses with the password, when that stands in a file of its own. Raise Unfit."""
    urls = environment.get("EWALLET_NATS_URL", "nats://127.0.0.1:4222")
    if any(urlsplit(url.strip()).scheme in ("ws", "wss") for url in urls.split(",")):
        raise Unfit("EWALLET_NATS_URL must have nats:// or tls:// addresses, not WebSocket's.")
    password = read_secret(environment, "EWALLET_NATS_PASSWORD")
    if password is None:
        return urls
    if not _PASSWORD.fullmatch(password):
        raise Unfit("EWALLET_NATS_PASSWORD_FILE may hold letters, digits and . _ ~ - only.")
    return ",".join(_with_password(url.strip(), password) for url in urls.split(","))


def _with_password(url: str, password: str) -> str:
    address = urlsplit(url)
    if not address.username or address.password is not None:
        raise Unfit(
            "With EWALLET_NATS_PASSWORD_FILE each address of EWALLET_NATS_URL names a user and no "
            "password: nats://writer@host:4222."
        )
    host = address.netloc.rpartition("@")[2]
    return f"{address.scheme}://{address.username}:{password}@{host}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host. Raise Unfit if it does not resolve."""
    return all(ip_address(address).is_loopback for _, address in resolve(host))


def resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """The (family, address) pairs of a host name or address, at least one; or raise Unfit."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as fault:
        raise Unfit(f"The HTTP host {host!r} is not known: {fault.strerror}") from fault
    return [(family, str(address[0]).split("%")[0]) for family, _, _, _, address in found]
