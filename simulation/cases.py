"""The hard cases, and which of them every long series of runs must have reached."""

from collections import Counter
from enum import Enum
from typing import Final

from contracts.coordination import COORDINATION_NAMES, Coordination
from simulation.processes import WriterProcess
from writer.core.coordination import WAYS
from writer.core.coordinator import Coordinator

EMPTY_CANCEL: Final = "empty cancel"
SUSPENDED_TRY: Final = "suspended try"
DUPLICATE_CONFIRM: Final = "duplicate confirm"
HOLD_EXPIRED: Final = "hold expired"
STALE_FRAME: Final = "stored frame that does not chain"
TIMED_OUT: Final = "coordination timed out"
RECOVERED: Final = "recovered from a snapshot"
OLDER_USED: Final = "older snapshot used"
NONE_USED: Final = "snapshots there and none used"


def death(way: Coordination, phase: Enum) -> str:
    """The death of a coordinator that has a transfer of a way in a phase."""
    return f"coordinator died: {COORDINATION_NAMES[way]} {phase.value}"


NEEDED: Final = (
    EMPTY_CANCEL,
    SUSPENDED_TRY,
    DUPLICATE_CONFIRM,
    HOLD_EXPIRED,
    STALE_FRAME,
    TIMED_OUT,
    RECOVERED,
    OLDER_USED,
    NONE_USED,
    *(
        death(way, phase)
        for way, table in WAYS.items()
        if table.lifecycle is not None
        for phase in table.lifecycle.awaits
    ),
)
"""A series of runs that never reached one of them has not tested it."""


def note_death(writer: WriterProcess, cases: Counter[str]) -> None:
    """Count in which phases a coordinator dies with its process, and what reigns began with."""
    for led in writer.led:
        base = led.snapshots.base
        cases[RECOVERED] += base.sequence > 0
        cases[OLDER_USED] += base.sequence > 0 and base.skipped > 0
        cases[NONE_USED] += base.sequence == 0 and base.skipped > 0
    for reign in writer.reigns:
        if isinstance(reign.machine.rules, Coordinator):
            running = reign.machine.rules.running.values()
            cases.update({death(each.coordination, each.phase) for each in running})
