"""What happened in a partition, wherever its rows are just now: still in memory or stored.

Everything is looked up first in what is not stored yet and then in the store. Rows only ever move
that way, so nothing is missed in between, from any thread.
"""

from typing import NamedTuple

from reader.core.rows import Name, RecordedRow, TransferRow
from reader.core.unstored import Unstored
from reader.ports import StoreReading


class Page(NamedTuple):
    """Transfers of one account, newest first."""

    rows: list[TransferRow]
    next_before_sequence: int | None
    """None if there are no older ones."""


class History:
    """The past of one partition. One thread at a time may use it."""

    def __init__(self, unstored: Unstored, stored: StoreReading) -> None:
        self._unstored = unstored
        self._stored = stored

    def row(self, sequence: int) -> RecordedRow | None:
        """The transfer or rejection of a sequence."""
        return self._unstored.row(sequence) or self._stored.row(sequence)

    def outcome(self, name: Name, payer: int | None) -> RecordedRow | None:
        """The outcome of a named transfer; payer is the account's number, None if unknown."""
        sequence = self._unstored.sequence_named(name)
        if sequence is None:
            sequence = self._stored.sequence_named(name, payer)
        return None if sequence is None else self.row(sequence)

    def newest_before(self, account: int, newest: int, before: int) -> TransferRow | None:
        """An account's newest entry before a sequence, given its newest entry of all (0: none)."""
        if not newest:
            return None
        if before > newest:
            return self._transfer(newest)
        row = self._transfer(self._stored.mark_from(account, before) or newest)
        while row.sequence >= before:
            previous = row.previous(account)
            if not previous:
                return None
            row = self._transfer(previous)
        return row

    def page(self, account: int, newest: int, before: int | None, limit: int) -> Page:
        """At most `limit` entries of an account that are older than `before`."""
        rows: list[TransferRow] = []
        start = newest + 1 if before is None else before
        row = self.newest_before(account, newest, start)
        while row is not None and len(rows) < limit:
            rows.append(row)
            previous = row.previous(account)
            row = self._transfer(previous) if previous else None
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

    def _transfer(self, sequence: int) -> TransferRow:
        row = self.row(sequence)
        assert isinstance(row, TransferRow), f"sequence {sequence} is an entry of the account"
        return row
