"""What errors of PostgreSQL mean for the reader, and what its operator is told.

No text here holds a password: libpq names host, port, user and database only.
"""

from typing import Final

import psycopg

from reader.config import VARIABLE, DatabaseAddress
from reader.ports import StoreFault, StoreUnfit

REBUILD: Final = (
    "It can be made anew from the journals, which hold all that it holds: `ewallet reader rebuild` "
    "does that while readers go on; if none starts any more, drop its schema (DROP SCHEMA ewallet "
    "CASCADE) and start one. Nothing was changed."
)
RIGHTS: Final = (
    "Its user must own the schema `ewallet`, or be allowed to make it: GRANT CREATE ON DATABASE."
)

_PASSING_CLASSES: Final = frozenset({"08", "25", "40", "53", "55", "57", "58"})
"""Of SQLSTATE: connections, a standby's refusal to write, conflicts, no room, locks, shutdown,
input and output (PostgreSQL's documentation, appendix A)."""
_NO_RIGHT: Final = "42501"
_CROWDED: Final = ("too many", "connection slots")


def fault_of(error: psycopg.Error, address: DatabaseAddress) -> StoreFault | StoreUnfit:
    """What an error of PostgreSQL means for the reader: it may pass, or the store is unfit."""
    sqlstate = error.sqlstate or ""
    is_lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not sqlstate
    if is_lost or sqlstate[:2] in _PASSING_CLASSES:
        return StoreFault(f"{address}: {_first_line(error)}")
    if sqlstate == _NO_RIGHT:
        return StoreUnfit(f"The database {address} refuses: {_first_line(error)}. {RIGHTS}")
    return StoreUnfit(f"The read store in {address} is damaged: {_first_line(error)}. {REBUILD}")


def refusal_of(
    error: psycopg.OperationalError, conninfo: str, address: DatabaseAddress
) -> StoreFault | StoreUnfit:
    """Why the first connection failed: there is no server now, or it does not want us.

    libpq gives no SQLSTATE for a refused connection, so the server is asked whether it is there.
    """
    text = _first_line(error)
    is_there = psycopg.pq.PGconn.ping(conninfo.encode()) == psycopg.pq.Ping.OK
    if is_there and not any(word in text for word in _CROWDED):
        return StoreUnfit(
            f"The database {address} ({VARIABLE}) refuses this reader: {text}. Check user, "
            "password, database name and the server's pg_hba.conf."
        )
    return StoreFault(
        f"The database {address} ({VARIABLE}) can't be reached now: {text}. Start it or correct "
        "the address; nothing is lost meanwhile, and a reader that is started again goes on."
    )


def _first_line(error: psycopg.Error) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
