"""The read store in one SQLite file.

What is appended and what follows behind is told beside the tables (store_sqlite_schema). The names
that no index holds yet are in memory, and opening a file makes good what is missing.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from contracts.chain import Tip, genesis
from reader.adapters.store_sqlite_faults import REBUILD, fault_of
from reader.adapters.store_sqlite_reading import SqliteStoreReading, Unindexed
from reader.adapters.store_sqlite_schema import (
    ADD_ACCOUNT,
    ADD_HELD,
    ADD_MARK,
    ADD_MOMENT,
    ADD_REJECTION,
    ADD_STEP,
    ADD_TRANSFER,
    APPLICATION_ID,
    CONTRADICTIONS,
    END_UNFINISHED,
    INDEX,
    MOVE_CURSOR,
    PUT_UNFINISHED,
    SCHEMA,
    SCHEMA_VERSION,
    UNFINISHED,
)
from reader.core.rows import BEFORE_ANY_TIME, AccountRow, Cursor, Group, StepRow, UnfinishedRow
from reader.ports import Stored, StoreUnfit

INDEX_ROWS: Final = 32_768
"""Transfers and steps of transfers between two catchings-up of the indexes. Larger ones cost
less and hold more names in memory, about 300 bytes each."""

_SQLITE_VERSION_MIN: Final = (3, 37)
_WAL_PAGES: Final = 4_096
_CACHE_KIB: Final = 32_768
_BUSY_MS: Final = 5_000


class SqliteReadStore:
    """Port `ReadStore` on one file. `write` and `tidy` come from one thread at a time."""

    def __init__(self, path: Path, partition: int) -> None:
        """Open or make the file; raise StoreUnfit if it is not a sound store of the partition."""
        self._path = path
        self._partition = partition
        self._connections: list[sqlite3.Connection] = []
        self._unindexed = Unindexed()
        if sqlite3.sqlite_version_info < _SQLITE_VERSION_MIN:
            raise StoreUnfit(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or newer is needed")
        with self._faults():
            self._db = self._connect()
            self._provide_schema()
        self.tidy(at_once=True)

    def load(self) -> Stored:
        """See the port."""
        with self._faults():
            tip, stream_sequence = self._cursor()
            (at_ms,) = self._db.execute("SELECT max(at_ms) FROM moments").fetchone()
            accounts = self._db.execute("SELECT * FROM accounts ORDER BY number").fetchall()
            unfinished = self._db.execute(UNFINISHED).fetchall()
            self._check_agreement()
        width = len(StepRow._fields)
        return Stored(
            Cursor(tip, stream_sequence),
            BEFORE_ANY_TIME if at_ms is None else at_ms,
            [AccountRow._make(row) for row in accounts],
            [
                UnfinishedRow(StepRow._make(row[:width]), StepRow._make(row[width:]))
                for row in unfinished
            ],
        )

    def write(self, group: Group) -> None:
        """See the port."""
        assert group.cursor is not None, "an empty group is not written"
        tip, stream_sequence = group.cursor
        with self._transaction() as db:
            db.executemany(ADD_ACCOUNT, group.accounts)
            db.executemany(ADD_TRANSFER, group.transfers)
            db.executemany(ADD_STEP, map(tuple, group.steps))  # plain ones are bound quicker
            db.executemany(ADD_HELD, _held_rows(group))
            db.executemany(PUT_UNFINISHED, [row for row in group.unfinished.items() if row[1]])
            db.executemany(END_UNFINISHED, [(at,) for at, to in group.unfinished.items() if not to])
            db.executemany(ADD_REJECTION, group.rejections)
            db.executemany(ADD_MARK, sorted(group.marks))
            db.executemany(ADD_MOMENT, group.moments)
            db.execute(MOVE_CURSOR, (*msgspec.structs.astuple(tip), stream_sequence))
        self._unindexed.add(group)

    def tidy(self, *, at_once: bool = False) -> None:
        """See the port."""
        if self._unindexed.rows < INDEX_ROWS and not at_once:
            return
        with self._transaction() as db:
            for statement in INDEX:
                db.execute(statement)
        # Replaced, not cleared: a reading that looked here first finds the names in the file.
        self._unindexed = Unindexed()

    def reading(self) -> SqliteStoreReading:
        """See the port."""
        return SqliteStoreReading(self._connect(), self._path, lambda: self._unindexed)

    def close(self) -> None:
        """See the port. The file stands alone afterwards, without a WAL beside it."""
        try:
            self.tidy(at_once=True)
        finally:
            for connection in reversed(self._connections):
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connections.append(db)
        db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return db

    def _provide_schema(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        is_blank = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and is_blank:
            self._make_schema()
        elif (version, self._application_id()) != (SCHEMA_VERSION, APPLICATION_ID):
            raise StoreUnfit(
                f"The read store {self._path} has schema version {version}, this program knows "
                f"{SCHEMA_VERSION}. {REBUILD}"
            )
        partitions = [row[0] for row in self._db.execute("SELECT partition FROM cursor")]
        if partitions != [self._partition]:
            raise StoreUnfit(
                f"The read store {self._path} belongs to partition {partitions}, not "
                f"{self._partition}. {REBUILD}"
            )

    def _make_schema(self) -> None:
        start = genesis(self._partition)
        with self._transaction() as db:
            for statement in SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(
                "INSERT INTO cursor VALUES (?, ?, ?, ?, ?, 0, 0)",
                (self._partition, *msgspec.structs.astuple(start)),
            )
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _check_agreement(self) -> None:
        """Raise StoreUnfit for a store that contradicts itself."""
        for statement, story in CONTRADICTIONS.items():
            found = self._db.execute(statement).fetchone()
            if found is not None:
                raise StoreUnfit(
                    f"The read store {self._path} is damaged: {story.format(found[0])}. {REBUILD}"
                )

    def _application_id(self) -> int:
        return int(self._db.execute("PRAGMA application_id").fetchone()[0])

    def _cursor(self) -> tuple[Tip, int]:
        row = self._db.execute(
            "SELECT sequence, hash, epoch, at_ms, stream_sequence FROM cursor"
        ).fetchone()
        return Tip(*row[:4]), row[4]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; turns SQLite's errors into the port's faults."""
        with self._faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise fault_of(error, self._path) from error


def _held_rows(group: Group) -> list[tuple[int, int, int]]:
    """(account, sequence, held_minor), in the order of the table's key."""
    return [
        (account, sequence, held_minor)
        for account, changes in sorted(group.held.items())
        for sequence, held_minor in changes
    ]
