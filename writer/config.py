"""Settings of the writer, from `EWALLET_*` variables, frozen."""

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from contracts.parties import COORDINATOR, parties
from runtime.process import Unfit
from runtime.settings import ServiceSettings, read_number, read_service_settings

_NAME: Final = re.compile("[a-z0-9-]{1,32}")
_WRITES: Final = ("all", "partitions", "coordinator")

SNAPSHOT_EVENTS_DEFAULT: Final = 100_000
"""Replayed in one to two seconds beside a million accounts."""
SNAPSHOT_FRAMES_DEFAULT: Final = 20_000
"""Replayed in a second. At a low rate a frame has one event, and costs seven times as much."""
SNAPSHOT_COUNT_MAX: Final = 10**9
SNAPSHOT_S_DEFAULT: Final = 900
SNAPSHOT_S_MAX: Final = 366 * 24 * 3_600


class SnapshotRule(Struct, frozen=True):
    """When a party's next snapshot is due: whichever comes first, if there is anything new."""

    events: int
    """Since the last one."""
    frames: int
    """Event frames since the last one."""
    seconds: int
    """Since the last one, or since the reign began."""


SNAPSHOT_RULE_DEFAULT: Final = SnapshotRule(
    SNAPSHOT_EVENTS_DEFAULT, SNAPSHOT_FRAMES_DEFAULT, SNAPSHOT_S_DEFAULT
)


class WriterSettings(Struct, frozen=True):
    """What every service needs, and which parties this process may lead."""

    service: ServiceSettings
    name: str
    """Of this process, to tell its witnesses from others' in the same data folder."""
    parties: list[int]
    snapshots: SnapshotRule


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
    return WriterSettings(
        service, _read_name(environment), led[writes], _read_snapshot_rule(environment)
    )


def _read_name(environment: Mapping[str, str]) -> str:
    name = environment.get("EWALLET_WRITER_NAME") or "writer"
    if not _NAME.fullmatch(name):
        raise Unfit(f"EWALLET_WRITER_NAME must match {_NAME.pattern}, not {name!r}.")
    return name


def _read_snapshot_rule(environment: Mapping[str, str]) -> SnapshotRule:
    return SnapshotRule(
        events=read_number(
            environment,
            "EWALLET_SNAPSHOT_EVENTS",
            default=SNAPSHOT_EVENTS_DEFAULT,
            least=1,
            most=SNAPSHOT_COUNT_MAX,
        ),
        frames=read_number(
            environment,
            "EWALLET_SNAPSHOT_FRAMES",
            default=SNAPSHOT_FRAMES_DEFAULT,
            least=1,
            most=SNAPSHOT_COUNT_MAX,
        ),
        seconds=read_number(
            environment,
            "EWALLET_SNAPSHOT_S",
            default=SNAPSHOT_S_DEFAULT,
            least=1,
            most=SNAPSHOT_S_MAX,
        ),
    )
