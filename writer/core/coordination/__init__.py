"""The ways in which a transfer between partitions is made all-or-nothing, each a table.

`WAYS` says what each is; `MOVES` is all they do to accounts. Partition, coordinator, tests and
documents read the same tables.
"""

from typing import Final

from contracts.coordination import Coordination
from writer.core.coordination.choreography import CHOREOGRAPHY
from writer.core.coordination.lifecycle import FINAL, Lifecycle, Move, Sides, SideState, Way
from writer.core.coordination.orchestration import ORCHESTRATION
from writer.core.coordination.tcc import TCC
from writer.core.coordination.two_phase_commit import TWO_PHASE_COMMIT

__all__ = [
    "FINAL",
    "GIVING_UP",
    "MOVES",
    "TAKEN_BEFORE",
    "WAYS",
    "Lifecycle",
    "Move",
    "SideState",
    "Sides",
    "Way",
]

WAYS: Final = {
    Coordination.CHOREOGRAPHY: CHOREOGRAPHY,
    Coordination.ORCHESTRATION: ORCHESTRATION,
    Coordination.TCC: TCC,
    Coordination.TWO_PHASE_COMMIT: TWO_PHASE_COMMIT,
}

MOVES: Final[Sides] = {at: move for way in WAYS.values() for at, move in way.sides.items()}
"""From (state of a side, step). Steps of different ways never share a state and a step, or mean
the same by it."""

TAKEN_BEFORE: Final = frozenset(
    (move.to, step) for (_, step), move in MOVES.items() if move.to not in FINAL
)
"""(state of a side, step) where the step was taken just before: it came twice."""

GIVING_UP: Final = frozenset(
    step for (_, step), move in MOVES.items() if move.to is SideState.UNDONE
)
"""Steps that undo, or prevent, another."""

for _way in WAYS.values():
    for _at, _move in _way.sides.items():
        assert MOVES[_at] == _move, f"{_at} means one thing"
