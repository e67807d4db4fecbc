"""Settings that every service shares, read from `EWALLET_*` variables once and frozen."""

import socket
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from msgspec import Struct

from contracts.limits import PARTITION_COUNT_MAX
from runtime.process import Unfit

DATA_DIR_DEFAULT: Final = ".ewallet"


class ServiceSettings(Struct, frozen=True):
    """Where the broker is, how many partitions there are, where files may be kept."""

    nats_url: str
    nats_monitor_url: str
    partition_count: int
    data_dir: Path


def read_service_settings(environment: Mapping[str, str]) -> ServiceSettings:
    """Raise Unfit with a sentence that names the variable and what it should be."""
    return ServiceSettings(
        nats_url=environment.get("EWALLET_NATS_URL", "nats://127.0.0.1:4222"),
        nats_monitor_url=environment.get("EWALLET_NATS_MONITOR_URL", "http://127.0.0.1:8222"),
        partition_count=read_number(
            environment, "EWALLET_PARTITIONS", default=None, least=1, most=PARTITION_COUNT_MAX
        ),
        data_dir=Path(environment.get("EWALLET_DATA_DIR", DATA_DIR_DEFAULT)),
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
