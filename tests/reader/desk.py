"""A projection over a real store, driven by hand, and a look into a store's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from contracts.chain import Chained, follow
from contracts.results import Result
from reader.adapters.store_postgresql import PostgresqlReadStore
from reader.adapters.store_postgresql_database import Database
from reader.adapters.store_postgresql_migrating import migrate
from reader.adapters.store_sqlite import SqliteReadStore
from reader.core.projection import Projection
from reader.core.rows import Cursor
from reader.core.unstored import Unstored
from reader.ports import ReadStore
from reader.service.history import History

Dump = dict[str, list[tuple[Any, ...]]]
"""Rows by table."""


class StoreDesk:
    """A projection and its store without loops: the test says when a group is written."""

    def __init__(self, store: ReadStore) -> None:
        self.stored = store.load()
        self._store = store
        self.unstored = Unstored()
        self.history = History(self.unstored, store.reading())
        self.projection = Projection(
            self.stored.accounts,
            self.stored.unfinished,
            self.stored.cursor,
            self.unstored,
            self.history.row,
            at_ms=self.stored.at_ms,
        )
        self._stream_sequence = self.stored.cursor.stream_sequence

    def take(self, data: bytes) -> dict[str, list[Result]]:
        self._stream_sequence += 1
        step = follow(self.projection.cursor.tip, data)
        assert isinstance(step, Chained), step
        return self.projection.apply(step.frame, Cursor(step.tip, self._stream_sequence))

    def take_all(self, frames: Sequence[bytes]) -> None:
        for data in frames:
            self.take(data)

    def store_pending(self) -> None:
        if self.unstored.pending.cursor is not None:
            self._store.write(self.unstored.take())
            self.unstored.written()

    def close(self) -> None:
        self._store.close()

    def lookups(self, threads: Executor) -> Executor | None:
        """Where a reader looks names up in such a store."""
        return threads if isinstance(self._store, PostgresqlReadStore) else None

    def past(self) -> History:
        """For one more thread."""
        return History(self.unstored, self._store.reading())


class Desk(StoreDesk):
    """Over a file."""

    def __init__(self, path: Path, partition: int = 0) -> None:
        self.store = SqliteReadStore(path, partition)
        super().__init__(self.store)


class SqlitePlace:
    """Where SQLite keeps a partition, for tests of what every store promises."""

    def __init__(self, folder: Path, partition: int = 0) -> None:
        self.partition = partition
        self._folder = folder
        self._path = folder / "store.sqlite"

    def open(self) -> SqliteReadStore:
        return SqliteReadStore(self._path, self.partition)

    def clear(self) -> None:
        """Remove what is there. Nobody has the store open."""
        for path in self._folder.glob(f"{self._path.name}*"):
            path.unlink()

    def beside(self) -> SqlitePlace:
        """Another, empty place."""
        (self._folder / "beside").mkdir()
        return SqlitePlace(self._folder / "beside", self.partition)

    def dump(self) -> Dump:
        """All rows, table by table. Nobody has the store open."""
        return dump(self._path)

    def run(self, script: str) -> int:
        """Run statements; give how many rows the last one changed."""
        with opened(self._path) as db:
            *before, last = script.strip().rstrip(";").split(";\n")
            for statement in before:
                db.execute(statement)
            count = db.execute(last).rowcount
            db.commit()
        return count


class PostgresqlPlace:
    """Where PostgreSQL keeps a partition, and other partitions beside it."""

    def __init__(self, database: Database, at_end: ExitStack, partition: int = 0) -> None:
        self.partition = partition
        self._database = database
        self._at_end = at_end

    def open(self) -> PostgresqlReadStore:
        return PostgresqlReadStore(self._database, self.partition)

    def beside(self) -> PostgresqlPlace:
        """Another, empty place: a second schema of the same database."""
        address = self._database.address
        migrate(address, schema="beside")
        database = self._at_end.enter_context(closing(Database(address, 1, schema="beside")))
        return PostgresqlPlace(database, self._at_end, self.partition)

    def dump(self) -> Dump:
        """All rows of the partition, table by table."""
        with self._database.connection() as db:
            names = db.execute(
                "SELECT table_name FROM information_schema.tables "
                "WHERE table_schema = current_schema AND table_name <> 'alembic_version'"
            ).fetchall()
            return {
                name: sorted(db.execute(_all_of(name), (self.partition,)).fetchall())
                for (name,) in names
            }

    def run(self, script: str) -> int:
        """Run statements; give how many rows the last one changed."""
        *before, last = script.strip().rstrip(";").split(";\n")
        with self._database.transaction() as db:
            for statement in before:
                db.execute(statement.encode())
            count = db.execute(last.encode()).rowcount
            db.execute("DISCARD TEMP")
        return count

    def clear(self) -> None:
        """Remove what is there. Nobody has the store open."""
        self.restore({table: [] for table in self.dump()})

    def restore(self, rows: Dump) -> None:
        """Put a dump in the place of what is there."""
        with self._database.transaction() as db:
            for table, values in rows.items():
                db.execute(f"DELETE FROM {table}".encode())  # noqa: S608  # our own names
                with db.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    for row in values:
                        copy.write_row(row)


def _all_of(table: str) -> bytes:
    return f"SELECT * FROM {table} WHERE partition = %s".encode()  # noqa: S608  # our own names


Place = SqlitePlace | PostgresqlPlace


def dump(path: Path) -> Dump:
    """Everything in a closed store file, table by table."""
    with opened(path) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {
            table: sorted(db.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608  # our own names
            for table in tables
        }


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(path)
    try:
        yield db
    finally:
        db.close()
