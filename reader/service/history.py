"""What happened in a partition, wherever its rows are just now: still in memory or stored.

Everything is looked up first in what is not stored yet and then in the store. Rows only ever move
that way, so nothing is missed in between, from any thread.
"""

from typing import NamedTuple

from reader.core.rows import EntryRow, Name, OutcomeRow, RecordedRow, StepRow, TransferRow
from reader.core.unstored import Unstored
from reader.ports import StoreReading


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

    def newest_before(self, account: int, newest: int, before: int) -> EntryRow | None:
        """An account's newest entry before a sequence, given its newest entry of all (0: none)."""
        if not newest:
            return None
        if before > newest:
            return self._entry(newest)
        row = self._entry(self._stored.mark_from(account, before) or newest)
        while row.sequence >= before:
            previous = row.previous(account)
            if not previous:
                return None
            row = self._entry(previous)
        return row

    def page(self, account: int, newest: int, before: int | None, limit: int) -> Page:
        """At most `limit` entries of an account that are older than `before`."""
        rows: list[EntryRow] = []
        start = newest + 1 if before is None else before
        row = self.newest_before(account, newest, start)
        while row is not None and len(rows) < limit:
            rows.append(row)
            previous = row.previous(account)
            row = self._entry(previous) if previous else None
        return Page(rows, None if row is None else row.sequence + 1)

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

    def _entry(self, sequence: int) -> EntryRow:
        row = self.row(sequence)
        assert isinstance(row, TransferRow | StepRow), f"sequence {sequence} is an entry"
        return row

    def _step(self, sequence: int) -> StepRow:
        row = self.row(sequence)
        assert isinstance(row, StepRow), f"sequence {sequence} is a step"
        return row
