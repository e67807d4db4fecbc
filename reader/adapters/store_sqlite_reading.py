"""Finds rows in the SQLite store, beside the thread that writes it."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reader.adapters.store_sqlite_faults import fault_of
from reader.core.rows import (
    EntryRow,
    Group,
    Name,
    RecordedRow,
    RejectionRow,
    StepRow,
    TransferRow,
)


@dataclass(slots=True)
class Unindexed:
    """Names of stored rows that the file's indexes do not hold yet."""

    rows: int = 0
    names: dict[Name, int] = field(default_factory=dict)
    credits: dict[Name, list[int]] = field(default_factory=dict)

    def add(self, group: Group) -> None:
        """Take the names of a group that is stored by now."""
        self.rows += len(group.transfers) + len(group.steps)
        self.names.update(group.names)
        for name, sequences in group.credits.items():
            self.credits.setdefault(name, []).extend(sequences)


class SqliteStoreReading:
    """Port `StoreReading` over a connection of its own."""

    def __init__(
        self, db: sqlite3.Connection, path: Path, unindexed: Callable[[], Unindexed]
    ) -> None:
        """`unindexed` gives what the store has not indexed at that moment."""
        self._unindexed = unindexed
        self._db = db
        self._path = path

    def row(self, sequence: int) -> RecordedRow | None:
        """See the port."""
        found = self._one("SELECT * FROM transfers WHERE sequence = ?", sequence)
        if found is not None:
            return TransferRow._make(found)
        found = self._one("SELECT * FROM steps WHERE sequence = ?", sequence)
        if found is not None:
            return StepRow._make(found)
        found = self._one("SELECT * FROM rejections WHERE sequence = ?", sequence)
        return None if found is None else RejectionRow._make(found)

    def rows(self, sequences: Sequence[int]) -> dict[int, RecordedRow]:
        """See the port."""
        found = {sequence: self.row(sequence) for sequence in sequences}
        return {sequence: row for sequence, row in found.items() if row is not None}

    def entries(self, account: int, newest: int, count: int) -> list[EntryRow]:
        """See the port."""
        rows: list[EntryRow] = []
        while newest and len(rows) < count:
            row = self.row(newest)
            assert isinstance(row, TransferRow | StepRow), f"sequence {newest} is an entry"
            rows.append(row)
            newest = row.previous(account)
        return rows

    def sequence_named(self, name: Name, payer: int | None) -> int | None:
        """See the port."""
        sequence = self._unindexed().names.get(name)
        if sequence is not None:
            return sequence
        if payer is not None:
            sequence = self._number(
                "SELECT sequence FROM names WHERE payer = ? AND transaction_id = ?", payer, name[1]
            )
        if sequence is None:
            sequence = self._number(
                "SELECT sequence FROM rejections WHERE payer_id = ? AND transaction_id = ?", *name
            )
        return sequence

    def credits_named(self, name: Name) -> list[int]:
        """See the port."""
        # In this order: what leaves the first is in the second by then.
        unindexed = self._unindexed().credits.get(name, [])
        found = self._all(
            "SELECT sequence FROM credits WHERE payer_id = ? AND transaction_id = ?", *name
        )
        return [*unindexed, *(sequence for (sequence,) in found)]

    def held_at(self, account: int, sequence: int) -> int:
        """See the port."""
        held_minor = self._number(
            "SELECT held_minor FROM held WHERE account = ? AND sequence <= ? "
            "ORDER BY sequence DESC",
            account,
            sequence,
        )
        return held_minor or 0

    def held_after(self, account: int, sequence: int, count: int) -> list[tuple[int, int]]:
        """See the port."""
        return self._all(
            "SELECT sequence, held_minor FROM held WHERE account = ? AND sequence > ? "
            "ORDER BY sequence LIMIT ?",
            account,
            sequence,
            count,
        )

    def mark_from(self, account: int, sequence: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT sequence FROM marks WHERE account = ? AND sequence >= ? ORDER BY sequence",
            account,
            sequence,
        )

    def time_of(self, sequence: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT at_ms FROM moments WHERE first_sequence <= ? ORDER BY first_sequence DESC",
            sequence,
        )

    def first_sequence_after(self, at_ms: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT first_sequence FROM moments WHERE at_ms > ? ORDER BY at_ms", at_ms
        )

    def _number(self, statement: str, *values: Any) -> int | None:
        found = self._one(statement, *values)
        return None if found is None else int(found[0])

    def _one(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        """The first row of a statement's result."""
        return next(iter(self._all(f"{statement} LIMIT 1", *values)), None)

    def _all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise fault_of(error, self._path) from error
