"""What is projected and not in the read store yet.

Two groups: `pending` fills while `writing` is being written. A row moves from pending to writing
to the store and never back, so who looks in that order finds it, also from another thread.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter

from reader.core.rows import Group, Name, RecordedRow, TransferRow

_first = itemgetter(0)
_second = itemgetter(1)


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
        """The transfer or rejection of a sequence, if it is here."""
        for group in self._groups():
            at = bisect_left(group.transfers, sequence, key=_first)
            if at < len(group.transfers) and group.transfers[at][0] == sequence:
                return TransferRow._make(group.transfers[at])
            at = bisect_left(group.rejections, sequence, key=_first)
            if at < len(group.rejections) and group.rejections[at].sequence == sequence:
                return group.rejections[at]
        return None

    def sequence_named(self, name: Name) -> int | None:
        """The sequence of a named transfer's outcome, if it is here."""
        for group in self._groups():
            sequence = group.names.get(name)
            if sequence is not None:
                return sequence
        return None

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
