"""A projection over a real store, driven by hand, and a look into a store's file."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contracts.chain import Chained, follow
from contracts.results import Result
from reader.adapters.store_sqlite import SqliteReadStore
from reader.core.projection import Projection
from reader.core.rows import Cursor
from reader.core.unstored import Unstored
from reader.service.history import History


class Desk:
    """A projection and its store without loops: the test says when a group is written."""

    def __init__(self, path: Path, partition: int = 0) -> None:
        self.store = SqliteReadStore(path, partition)
        self.stored = self.store.load()
        self.unstored = Unstored()
        self.history = History(self.unstored, self.store.reading())
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
            self.store.write(self.unstored.take())
            self.unstored.written()


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
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
