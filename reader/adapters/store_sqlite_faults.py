"""What errors of SQLite mean for the reader, and what its operator is told."""

import sqlite3
from pathlib import Path
from typing import Final

from reader.ports import StoreFault, StoreUnfit

_PASSING_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
    }
)

REBUILD: Final = (
    "Stop the wallet if it runs, remove the read store's folder (reader/ in the data folder) and "
    "start again: the read store is made anew from the journals, which hold all that it holds. "
    "Nothing was changed. While nats-server runs, `ewallet reader rebuild` makes it anew too."
)


def fault_of(error: sqlite3.Error, path: Path) -> StoreFault | StoreUnfit:
    """What an error of SQLite means for the reader: it may pass, or the file is unfit."""
    if isinstance(error, sqlite3.ProgrammingError):
        return StoreFault(f"{path} is closed: {error}")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in _PASSING_CODES:
        return StoreFault(f"{path}: {error}")
    return StoreUnfit(f"The read store {path} is damaged: {error}. {REBUILD}")
