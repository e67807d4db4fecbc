"""What happened in a partition, wherever its rows are just now: still in memory or stored.

Everything is looked up first in what is not stored yet and then in the store. Rows only ever move
that way, so nothing is missed in between, from any thread.
"""

from typing import Final, NamedTuple

from reader.core.accounts import MARK_DISTANCE
from reader.core.rows import EntryRow, Name, OutcomeRow, RecordedRow, StepRow, TransferRow
from reader.core.unstored import Unstored
from reader.ports import StoreReading

_FIRST_COUNT: Final = 4
"""Entries looked up at once behind a sequence, where few are likely; then twice as many."""


class Page(NamedTuple):
    """Entries of one account, newest first."""

    rows: list[EntryRow]
    next_before_sequence: int | None
    """None if there are no older ones."""


class History:
    """The past of one partition. One thread at a time may use it."""

    def __init__(self, unstored: Unstored, stored: StoreReading) -> None:
        self._unstored = unstored
        self._stored = stored

    def row(self, sequence: int) -> RecordedRow | None:
        """The transfer, step or rejection of a sequence."""
        return self._unstored.row(sequence) or self._stored.row(sequence)

    def outcome(self, name: Name, payer: int | None) -> OutcomeRow | None:
        """The outcome of a named transfer; payer is the account's number, None if unknown."""
        sequence = self._unstored.sequence_named(name)
        if sequence is None:
            sequence = self._stored.sequence_named(name, payer)
        return None if sequence is None else self.row(sequence)

    def steps_until(self, newest: StepRow) -> list[StepRow]:
        """The payer's side of a transfer, from its start to a step."""
        rows = [newest]
        while rows[-1].previous_step:
            rows.append(self._step(rows[-1].previous_step))
        return rows[::-1]

    def credit_steps(self, name: Name) -> list[StepRow]:
        """The payee's side of a named transfer, oldest first."""
        unstored = self._unstored.credits_named(name)
        sequences = {*unstored, *self._stored.credits_named(name)}
        return [self._step(sequence) for sequence in sorted(sequences)]

    def held_at(self, account: int, sequence: int) -> int:
        """What an account holds after a sequence, in minor units."""
        held_minor = self._unstored.held_at(account, sequence)
        return self._stored.held_at(account, sequence) if held_minor is None else held_minor

    def held_after(self, account: int, sequence: int, count: int) -> dict[int, int]:
        """What an account holds from each sequence on at which that changed, the oldest first.

        The next so many changes at least, if there are so many.
        """
        unstored = self._unstored.held_after(account, sequence)  # before the store is looked into
        return dict(sorted({*self._stored.held_after(account, sequence, count), *unstored}))

    def entries_after(
        self, account: int, newest: int, sequence: int, limit: int
    ) -> list[EntryRow] | None:
        """An account's entries behind a sequence, the oldest first; None if they are too many."""
        found: list[EntryRow] = []
        at, count = newest, _FIRST_COUNT
        while at > sequence:
            rows = self._entries(account, at, count)
            found += rows
            if len(found) > limit and found[limit].sequence > sequence:
                return None
            at, count = rows[-1].previous(account), 2 * count
        return [row for row in reversed(found) if row.sequence > sequence]

    def newest_before(self, account: int, newest: int, before: int) -> EntryRow | None:
        """An account's newest entry before a sequence, given its newest entry of all (0: none)."""
        at = newest
        if before <= newest:
            at = self._stored.mark_from(account, before) or newest
        while at:
            rows = self._entries(account, at, 1 if at < before else MARK_DISTANCE + 1)
            for row in rows:
                if row.sequence < before:
                    return row
            at = rows[-1].previous(account)
        return None

    def page(self, account: int, newest: int, before: int | None, limit: int) -> Page:
        """At most `limit` entries of an account that are older than `before`."""
        start = newest + 1 if before is None else before
        row = self.newest_before(account, newest, start)
        if row is None:
            return Page([], None)
        rows = self._entries(account, row.sequence, limit + 1)
        more = rows[limit].sequence + 1 if len(rows) > limit else None
        return Page(rows[:limit], more)

    def time_of(self, sequence: int) -> int:
        """Unix ms of a sequence between 1 and the projection's tip."""
        at_ms = self._unstored.time_of(sequence)
        if at_ms is None:
            at_ms = self._stored.time_of(sequence)
        assert at_ms is not None, f"sequence {sequence} has a time"
        return at_ms

    def sequence_at(self, at_ms: int, tip: int) -> int:
        """The last sequence at or before a time, given the last sequence of all; 0 if none."""
        unstored = self._unstored.first_sequence_after(at_ms)
        stored = self._stored.first_sequence_after(at_ms)
        later = [sequence for sequence in (unstored, stored) if sequence is not None]
        return min(later) - 1 if later else tip

    def _entries(self, account: int, newest: int, count: int) -> list[EntryRow]:
        """At most so many entries of an account, from one of them back, newest first."""
        rows: list[EntryRow] = []
        while newest and len(rows) < count:
            row = self._unstored.row(newest)
            if row is None:
                return rows + self._stored.entries(account, newest, count - len(rows))
            assert isinstance(row, TransferRow | StepRow), f"sequence {newest} is an entry"
            rows.append(row)
            newest = row.previous(account)
        return rows

    def _step(self, sequence: int) -> StepRow:
        row = self.row(sequence)
        assert isinstance(row, StepRow), f"sequence {sequence} is a step"
        return row
