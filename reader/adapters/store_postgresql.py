"""The read store in a PostgreSQL database that any number of readers share.

Every reader stores what it projects. The partition's row in `cursors` is locked while one writes;
whoever comes second finds the cursor further on and stores only what is missing. That is the same
whoever stores it, as rows are functions of the journal alone.

A reader sees of the store only what it has got to itself (`reached`). So what others stored before
it projected that far can't contradict what it answers from memory.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import Connection
from psycopg.errors import QueryCanceled

from contracts.chain import Tip, genesis
from reader.adapters.store_postgresql_database import Database
from reader.adapters.store_postgresql_faults import REBUILD
from reader.adapters.store_postgresql_reading import PostgresqlStoreReading
from reader.adapters.store_postgresql_schema import (
    ACCOUNTS,
    ADD_INFLOW,
    ALL_ACCOUNTS,
    BEGIN_CURSOR,
    CONTRADICTIONS,
    CURSOR,
    END_UNFINISHED,
    HELD,
    LOCK_CURSOR,
    MARKS,
    MOMENTS,
    MOVE_ACCOUNTS,
    MOVE_CURSOR,
    NEWEST_TIME,
    PUT_UNFINISHED,
    REJECTIONS,
    STEPS,
    TRANSFERS,
    UNFINISHED,
)
from reader.core.overlap import rest_of
from reader.core.rows import (
    BEFORE_ANY_TIME,
    AccountRow,
    Cursor,
    Group,
    StepRow,
    UnfinishedRow,
)
from reader.core.touched import touched_accounts
from reader.ports import Stored, StoreFault, StoreMovedBack, StoreUnfit


class PostgresqlReadStore:
    """Port `ReadStore` on one partition's rows. `load` comes before the first `write`."""

    def __init__(self, database: Database, partition: int) -> None:
        """Raise StoreFault or StoreUnfit."""
        self._database = database
        self._partition = partition
        self._name = f"{database.address}, partition {partition},"
        self._reached = genesis(partition)
        """Where the next group of this reader begins."""
        with database.connection() as db:
            start = msgspec.structs.astuple(self._reached)
            db.execute(BEGIN_CURSOR, (partition, *start))

    def load(self) -> Stored:
        """See the port. All of it is of one moment, whoever writes meanwhile."""
        with self._database.transaction() as db:
            stored = self._load(db)
        self._reached = stored.cursor.tip
        return stored

    def write(self, group: Group) -> None:
        """See the port."""
        assert group.cursor is not None, "an empty group is not written"
        try:
            self._write(group, group.cursor.tip)
        except StoreFault as fault:
            if isinstance(fault.__cause__, QueryCanceled):  # waited as long as a statement may take
                self._database.end_paused()  # with a connection: this one's is given back by now
            raise

    def tidy(self, *, at_once: bool = False) -> None:
        """See the port: nothing follows behind here."""

    def reading(self) -> PostgresqlStoreReading:
        """See the port."""
        return PostgresqlStoreReading(
            self._database, self._partition, lambda: self._reached.sequence
        )

    def close(self) -> None:
        """See the port. The connections belong to the database."""

    def _write(self, group: Group, tip: Tip) -> None:
        with self._database.transaction() as db:
            stored = self._locked_cursor(db)
            self._check_same_journal(stored, group)
            if stored.sequence == self._reached.sequence:
                self._add(db, group)
            elif stored.sequence < tip.sequence:
                self._add(db, rest_of(group, stored.sequence))
        self._reached = tip

    def _load(self, db: Connection) -> Stored:
        db.execute("SET LOCAL statement_timeout = 0")  # it reads and checks all accounts
        db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # Held against a rebuild that would change the tables in between. It comes first: the
        # transaction's view of the rows begins with the first query behind it.
        db.execute("LOCK TABLE cursors IN ROW SHARE MODE")
        partition = (self._partition,)
        tip, stream_sequence = self._cursor(db.execute(CURSOR, partition).fetchone())
        (at_ms,) = db.execute(NEWEST_TIME, partition).fetchone() or (None,)
        accounts = db.execute(ALL_ACCOUNTS, partition).fetchall()
        unfinished = db.execute(UNFINISHED, partition).fetchall()
        self._check_agreement(db)
        return Stored(
            Cursor(tip, stream_sequence),
            BEFORE_ANY_TIME if at_ms is None else at_ms,
            [AccountRow._make(row) for row in accounts],
            [_unfinished_row(row) for row in unfinished],
        )

    def _locked_cursor(self, db: Connection) -> Tip:
        return self._cursor(db.execute(LOCK_CURSOR, (self._partition,)).fetchone()).tip

    def _cursor(self, row: tuple[Any, ...] | None) -> Cursor:
        if row is None:
            raise StoreUnfit(f"The read store {self._name} has lost its cursor. {REBUILD}")
        return Cursor(Tip(*row[:4]), row[4])

    def _check_same_journal(self, stored: Tip, group: Group) -> None:
        """Raise unless the group joins on to what is stored, or is in it."""
        assert group.cursor is not None, "it was checked"
        if stored.sequence < self._reached.sequence:
            raise StoreMovedBack(
                f"The read store {self._name} was at sequence {self._reached.sequence} and is at "
                f"{stored.sequence} now, as after a restore or a fail-over. A reader that starts "
                "again continues from there."
            )
        if stored.sequence > group.cursor.tip.sequence:
            return  # another reader is ahead; a later group meets its cursor
        hashes = {tip.sequence: tip.hash for tip in (self._reached, *group.tips)}
        if hashes.get(stored.sequence) != stored.hash:
            raise StoreUnfit(
                f"The read store {self._name} holds the rows of another journal up to sequence "
                f"{stored.sequence}: each wallet needs a database of its own. Nothing was written."
            )

    def _add(self, db: Connection, group: Group) -> None:
        assert group.cursor is not None, "it was checked"
        partition = self._partition
        self._copy(db, ACCOUNTS, group.accounts)
        self._copy(db, TRANSFERS, group.transfers)
        self._copy(db, STEPS, group.steps)
        self._copy(db, REJECTIONS, group.rejections)
        self._copy(db, HELD, _held_rows(group))
        self._copy(db, MARKS, group.marks)
        self._copy(db, MOMENTS, group.moments)
        self._move_accounts(db, group)
        going = {at: newest for at, newest in group.unfinished.items() if newest}
        ended = [at for at, newest in group.unfinished.items() if not newest]
        if going:
            db.execute(PUT_UNFINISHED, (partition, list(going), list(going.values())))
        if ended:
            db.execute(END_UNFINISHED, (partition, ended))
        tip, stream_sequence = group.cursor
        db.execute(MOVE_CURSOR, (*msgspec.structs.astuple(tip), stream_sequence, partition))

    def _move_accounts(self, db: Connection, group: Group) -> None:
        touched = touched_accounts(group)
        if touched:
            columns = [list(column) for column in zip(*touched, strict=True)]
            db.execute(MOVE_ACCOUNTS, (*columns[:4], self._partition))
        moved = [each for each in touched if each.inflow_minor is not None]
        if moved:
            numbers, minors = [each.number for each in moved], [each.inflow_minor for each in moved]
            db.execute(ADD_INFLOW, (numbers, minors, self._partition))

    def _copy(self, db: Connection, table: str, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        with db.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row((self._partition, *row))

    def _check_agreement(self, db: Connection) -> None:
        """Raise StoreUnfit for a store that contradicts itself."""
        for statement, story in CONTRADICTIONS.items():
            found = db.execute(statement, {"partition": self._partition}).fetchone()
            if found is not None:
                raise StoreUnfit(
                    f"The read store {self._name} is damaged: {story.format(found[0])}. {REBUILD}"
                )


def _held_rows(group: Group) -> list[tuple[int, int, int]]:
    """Rows of (account, sequence, held_minor)."""
    return [
        (account, sequence, held_minor)
        for account, changes in group.held.items()
        for sequence, held_minor in changes
    ]


def _unfinished_row(row: tuple[Any, ...]) -> UnfinishedRow:
    """Out of two rows of steps side by side, each behind its partition."""
    width = len(StepRow._fields) + 1
    return UnfinishedRow(StepRow._make(row[1:width]), StepRow._make(row[width + 1 :]))
