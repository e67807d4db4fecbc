"""Finds rows in the PostgreSQL store, as far as this reader has got itself."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reader.adapters.store_postgresql_database import Database
from reader.adapters.store_postgresql_schema import (
    CHAIN,
    REJECTION_COLUMNS,
    REJECTIONS,
    STEP_COLUMNS,
    STEPS,
    TRANSFER_COLUMNS,
    TRANSFERS,
)
from reader.core.rows import (
    EntryRow,
    Name,
    RecordedRow,
    RejectionRow,
    StepRow,
    TransferRow,
)

_RECORDED: tuple[tuple[str, str, Callable[[Iterable[Any]], RecordedRow]], ...] = (
    (TRANSFERS, TRANSFER_COLUMNS, TransferRow._make),
    (STEPS, STEP_COLUMNS, StepRow._make),
    (REJECTIONS, REJECTION_COLUMNS, RejectionRow._make),
)


class PostgresqlStoreReading:
    """Port `StoreReading`. Any thread may use it: each look-up borrows a connection."""

    def __init__(self, database: Database, partition: int, reached: Callable[[], int]) -> None:
        """`reached` gives the sequence behind which nothing is seen."""
        self._database = database
        self._partition = partition
        self._reached = reached

    def row(self, sequence: int) -> RecordedRow | None:
        """See the port."""
        return self.rows([sequence]).get(sequence)

    def rows(self, sequences: Sequence[int]) -> dict[int, RecordedRow]:
        """See the port."""
        reached = self._reached()
        missing = {sequence for sequence in sequences if 0 < sequence <= reached}
        found: dict[int, RecordedRow] = {}
        for table, columns, make in _RECORDED:
            if not missing:
                break
            statement = (
                f"SELECT {columns} FROM {table} "  # noqa: S608  # our own names
                "WHERE partition = %s AND sequence = ANY(%s::bigint[])"
            )
            for values in self._all(statement, self._partition, list(missing)):
                row = make(values)
                found[row.sequence] = row
                missing.discard(row.sequence)
        return found

    def entries(self, account: int, newest: int, count: int) -> list[EntryRow]:
        """See the port."""
        asked = {
            "partition": self._partition,
            "account": account,
            "newest": newest,
            "count": count,
        }
        with self._database.connection() as db:
            sequences = [sequence for (sequence,) in db.execute(CHAIN, asked).fetchall()]
        found = self.rows(sequences)
        entries: list[EntryRow] = []
        for sequence in sequences:
            row = found.get(sequence)
            assert isinstance(row, TransferRow | StepRow), f"sequence {sequence} is an entry"
            entries.append(row)
        return entries

    def sequence_named(self, name: Name, payer: int | None) -> int | None:
        """See the port."""
        payer_id, transaction_id = name
        return self._number(
            "SELECT sequence FROM transfers "
            "WHERE partition = %(partition)s AND payer = %(payer)s AND transaction_id = %(id)s "
            "AND sequence <= %(reached)s "
            "UNION ALL SELECT sequence FROM steps "
            "WHERE partition = %(partition)s AND account = %(payer)s AND transaction_id = %(id)s "
            "AND kind = 2 AND sequence <= %(reached)s "
            "UNION ALL SELECT sequence FROM rejections "
            "WHERE partition = %(partition)s AND payer_id = %(payer_id)s "
            "AND transaction_id = %(id)s AND sequence <= %(reached)s LIMIT 1",
            payer=payer,
            payer_id=payer_id,
            id=transaction_id,
        )

    def credits_named(self, name: Name) -> list[int]:
        """See the port."""
        payer_id, transaction_id = name
        found = self._all(
            "SELECT sequence FROM steps WHERE partition = %s AND counterparty_id = %s "
            "AND transaction_id = %s AND kind = 3 AND sequence <= %s",
            self._partition,
            payer_id,
            transaction_id,
            self._reached(),
        )
        return [sequence for (sequence,) in found]

    def held_at(self, account: int, sequence: int) -> int:
        """See the port."""
        held_minor = self._number(
            "SELECT held_minor FROM held WHERE partition = %(partition)s AND account = %(account)s "
            "AND sequence <= least(%(sequence)s, %(reached)s) ORDER BY sequence DESC LIMIT 1",
            account=account,
            sequence=sequence,
        )
        return held_minor or 0

    def held_after(self, account: int, sequence: int, count: int) -> list[tuple[int, int]]:
        """See the port."""
        return self._all(
            "SELECT sequence, held_minor FROM held WHERE partition = %s AND account = %s "
            "AND sequence > %s AND sequence <= %s ORDER BY sequence LIMIT %s",
            self._partition,
            account,
            sequence,
            self._reached(),
            count,
        )

    def mark_from(self, account: int, sequence: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT sequence FROM marks WHERE partition = %(partition)s AND account = %(account)s "
            "AND sequence BETWEEN %(sequence)s AND %(reached)s ORDER BY sequence LIMIT 1",
            account=account,
            sequence=sequence,
        )

    def time_of(self, sequence: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT at_ms FROM moments WHERE partition = %(partition)s "
            "AND first_sequence <= least(%(sequence)s, %(reached)s) "
            "ORDER BY first_sequence DESC LIMIT 1",
            sequence=sequence,
        )

    def first_sequence_after(self, at_ms: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT first_sequence FROM moments WHERE partition = %(partition)s "
            "AND at_ms > %(at_ms)s AND first_sequence <= %(reached)s ORDER BY at_ms LIMIT 1",
            at_ms=at_ms,
        )

    def _number(self, statement: str, **values: int | str | None) -> int | None:
        """The first column of a statement's only row."""
        given = {"partition": self._partition, "reached": self._reached(), **values}
        with self._database.connection() as db:
            found = db.execute(statement, given).fetchone()
        return None if found is None else int(found[0])

    def _all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._database.connection() as db:
            return db.execute(statement, values).fetchall()
