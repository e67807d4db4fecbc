"""What is projected and not in the read store yet.

Two groups: `pending` fills while `writing` is being written. A row moves from pending to writing
to the store and never back, so who looks in that order finds it, also from another thread.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeVar

from reader.core.rows import Group, Name, RecordedRow, TransferRow

_first = itemgetter(0)
_second = itemgetter(1)

_Row = TypeVar("_Row", bound=tuple[Any, ...])


class Unstored:
    """The groups behind the projection's tip."""

    def __init__(self) -> None:
        self.pending = Group()
        self.writing: Group | None = None

    @property
    def row_count(self) -> int:
        """Rows that wait for the store."""
        return self.pending.row_count + (self.writing.row_count if self.writing else 0)

    def take(self) -> Group:
        """The group to write now. Call `written` before taking the next."""
        assert self.writing is None, "one group is written at a time"
        self.writing = group = self.pending
        self.pending = Group()
        return group

    def written(self) -> None:
        """The store holds the group that was taken."""
        self.writing = None

    def row(self, sequence: int) -> RecordedRow | None:
        """The transfer, step or rejection of a sequence, if it is here."""
        for group in self._groups():
            transfer = _found(group.transfers, sequence)
            if transfer is not None:
                return TransferRow._make(transfer)
            row = _found(group.steps, sequence) or _found(group.rejections, sequence)
            if row is not None:
                return row
        return None

    def sequence_named(self, name: Name) -> int | None:
        """The sequence of a named transfer's outcome, if it is here."""
        for group in self._groups():
            sequence = group.names.get(name)
            if sequence is not None:
                return sequence
        return None

    def credits_named(self, name: Name) -> list[int]:
        """Sequences of the payee's side of a named transfer that are here, in no order."""
        return [at for group in self._groups() for at in group.credits.get(name, ())]

    def held_at(self, account: int, sequence: int) -> int | None:
        """What an account holds after a sequence, if a change at or before it is here."""
        for group in self._groups():
            changes = group.held.get(account, [])
            at = bisect_right(changes, sequence, key=_first)
            if at:
                return changes[at - 1][1]
        return None

    def held_after(self, account: int, sequence: int) -> list[tuple[int, int]]:
        """(sequence, held_minor) of the changes of what an account holds that are here."""
        return [
            change
            for group in self._groups()
            for change in group.held.get(account, ())
            if change[0] > sequence
        ]

    def time_of(self, sequence: int) -> int | None:
        """Unix ms of a sequence, if a moment at or before it is here."""
        for group in self._groups():
            at = bisect_right(group.moments, sequence, key=_first)
            if at:
                return group.moments[at - 1][1]
        return None

    def first_sequence_after(self, at_ms: int) -> int | None:
        """The first sequence here with a later time, None if there is none."""
        found = None
        for group in self._groups():
            at = bisect_right(group.moments, at_ms, key=_second)
            if at < len(group.moments):
                found = group.moments[at][0]
        return found

    def _groups(self) -> Iterator[Group]:
        """The newest first; `writing` is looked up only when `pending` was searched."""
        yield self.pending
        writing = self.writing
        if writing is not None:
            yield writing


def _found(rows: Sequence[_Row], sequence: int) -> _Row | None:
    """The row of a sequence, among rows in the order of theirs."""
    at = bisect_left(rows, sequence, key=_first)
    return rows[at] if at < len(rows) and rows[at][0] == sequence else None
