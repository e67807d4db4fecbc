"""What is left of a group when a part of it is stored already, by another reader.

Rows are functions of the journal alone, so whoever projected a sequence made the same rows of it.
Only the list of unfinished transfers tells states instead of facts, and needs a thought.
"""

from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, TypeVar

from reader.core.rows import Group, StepKind

_Row = TypeVar("_Row", bound=tuple[Any, ...])

_first = itemgetter(0)


def rest_of(group: Group, sequence: int) -> Group:
    """The part of a group that follows a sequence at which one of its frames ends."""
    credited = {
        name: [at for at in sequences if at > sequence] for name, sequences in group.credits.items()
    }
    held = {number: _after(changes, sequence) for number, changes in group.held.items()}
    return Group(
        cursor=group.cursor,
        tips=[tip for tip in group.tips if tip.sequence > sequence],
        transfers=_after(group.transfers, sequence),
        steps=_after(group.steps, sequence),
        rejections=_after(group.rejections, sequence),
        accounts=[row for row in group.accounts if row.opened_sequence > sequence],
        moments=_after(group.moments, sequence),
        marks=[mark for mark in group.marks if mark[1] > sequence],
        names={name: at for name, at in group.names.items() if at > sequence},
        credits={name: sequences for name, sequences in credited.items() if sequences},
        held={number: changes for number, changes in held.items() if changes},
        unfinished=_begun_and_ended(group, sequence) | group.unfinished,
    )


def _begun_and_ended(group: Group, sequence: int) -> dict[int, int]:
    """Transfers that began up to the sequence and have their outcome by the group's end.

    The group does not mention them, as its own reader's store never knew them. Who stored the
    first part may have left them there as unfinished.
    """
    starts = (row.sequence for row in group.steps if row.kind == StepKind.START)
    return {at: 0 for at in starts if at <= sequence and at not in group.unfinished}


def _after(rows: Sequence[_Row], sequence: int) -> list[_Row]:
    """The rows behind a sequence, among rows in the order of theirs."""
    return list(rows[bisect_right(rows, sequence, key=_first) :])
