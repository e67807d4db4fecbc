"""Settings of the writer, from `EWALLET_*` variables, frozen."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from contracts.parties import COORDINATOR, parties
from runtime.process import Unfit
from runtime.settings import ServiceSettings, read_service_settings

_WRITES: Final = ("all", "partitions", "coordinator")


class WriterSettings(Struct, frozen=True):
    """What every service needs, and which parties this process leads."""

    service: ServiceSettings
    parties: list[int]


def read_writer_settings(environment: Mapping[str, str]) -> WriterSettings:
    """Raise Unfit with a sentence that names the variable and what it should be."""
    service = read_service_settings(environment)
    writes = environment.get("EWALLET_WRITES") or _WRITES[0]
    if writes not in _WRITES:
        raise Unfit(f"EWALLET_WRITES must be {', '.join(_WRITES[:-1])} or {_WRITES[-1]}.")
    led = {
        "all": parties(service.partition_count),
        "partitions": list(range(service.partition_count)),
        "coordinator": [COORDINATOR],
    }
    return WriterSettings(service=service, parties=led[writes])
