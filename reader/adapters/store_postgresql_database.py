"""Connections to the database that keeps the read store, shared by all partitions of a reader.

The tables are in the schema `ewallet`. A rebuild fills a second one and then changes the names, so
every statement names its tables without a schema and finds them anew when that happened.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool, PoolTimeout

from reader.adapters.store_postgresql_faults import fault_of, refusal_of
from reader.config import DatabaseAddress
from reader.ports import StoreFault, StoreUnfit

SCHEMA: Final = "ewallet"

READING_THREADS: Final = 4
"""Look-ups at a time, of all partitions together."""

_WRITING_THREADS_MAX: Final = 8
_CONNECT_S: Final = 3
_BORROW_S: Final = 1.0
"""How long a statement waits for a connection before the database counts as away."""
_AWAY_S: Final = 0.5
"""How long what comes next is then refused without waiting: a queue of look-ups must not pile up
behind a database that is not there."""
_RECONNECT_S: Final = 2.0
"""A connection that can't be made is given up after this; the next statement asks for another."""
_VANISHED: Final[dict[str, str]] = {
    "tcp_keepalives_idle": "5",  # seconds
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""How the server notices that a reader's machine is gone; else its locks stay for hours."""
_VERSION_MIN: Final = 13
IDLE_MS_MAX: Final = 5_000
"""A reader that is paused between two statements loses its transaction after this, and with it the
lock on a cursor that others wait for; it tries again when it wakes."""
STATEMENT_MS_MAX: Final = 15_000
"""Likewise in the middle of a statement; of a COPY see `Database.end_paused`. The largest group
takes some seconds."""
_APPLICATION: Final = "ewallet reader"
_END_PAUSED: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND usename = current_user "
    "AND application_name = %s AND state = 'active' AND wait_event = 'ClientRead' "
    "AND query_start < now() - %s * interval '1 ms'"
)


def conninfo_of(address: DatabaseAddress) -> str:
    """For libpq. It holds the password: never log it."""
    return make_conninfo(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password or None,
        dbname=address.database,
        application_name=_APPLICATION,
        connect_timeout=_CONNECT_S,
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,  # ms; a peer that vanished is not waited for
        client_encoding="utf8",
    )


def connected(address: DatabaseAddress, *, schema: str = SCHEMA) -> Connection:
    """One connection of its own, in autocommit. Raise StoreFault or StoreUnfit, telling why."""
    conninfo = conninfo_of(address)
    try:
        connection = psycopg.connect(conninfo, autocommit=True)
    except psycopg.OperationalError as error:
        # Not chained: it says the same, and its traceback names what was connected with.
        raise refusal_of(error, conninfo, address) from None
    try:
        _configure(connection, {"search_path": schema})
    except psycopg.Error as error:
        raise fault_of(error, address) from error
    return connection


def check_server(connection: Connection, address: DatabaseAddress) -> None:
    """Raise StoreUnfit for a server that can't hold the store."""
    version = connection.info.server_version // 10_000
    if version < _VERSION_MIN:
        raise StoreUnfit(f"{address} is PostgreSQL {version}: {_VERSION_MIN} or newer is needed.")
    row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    if row is not None and row[0]:
        raise StoreUnfit(f"{address} is a standby: the read store needs the primary server.")


class Database:
    """A pool of connections. Any thread may use it."""

    def __init__(
        self, address: DatabaseAddress, partition_count: int, *, schema: str = SCHEMA
    ) -> None:
        """Raise StoreFault if the database can't be reached."""
        self.address = address
        self.writing_threads = min(partition_count, _WRITING_THREADS_MAX)
        self._away_until = 0.0
        bounded = {
            "search_path": schema,
            "idle_in_transaction_session_timeout": str(IDLE_MS_MAX),
            "statement_timeout": str(STATEMENT_MS_MAX),
        }
        self._pool = ConnectionPool(
            conninfo_of(address),
            kwargs={"autocommit": True},
            configure=lambda connection: _configure(connection, bounded),
            min_size=1,
            max_size=READING_THREADS + self.writing_threads,  # so none waits for another
            open=False,
            reconnect_timeout=_RECONNECT_S,
            num_workers=2,
            name="read store",
        )
        with self.faults():
            self._pool.open(wait=True, timeout=_CONNECT_S)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Borrow a connection in autocommit. Errors become the port's faults."""
        if time.monotonic() < self._away_until:
            raise StoreFault(f"{self.address} can't be reached")
        with self.faults(), self._pool.connection(_BORROW_S) as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing. After a StoreFault it may be either: the cursor tells."""
        with self.connection() as connection, connection.transaction():
            yield connection

    def end_paused(self) -> None:
        """End the transactions of readers that were paused in the middle of a COPY.

        PostgreSQL waits there for the rest of the rows, and heeds none of its time limits: the
        lock on the cursor would last as long as the pause.
        """
        with self.connection() as connection:
            connection.execute(_END_PAUSED, (_APPLICATION, STATEMENT_MS_MAX))

    def close(self) -> None:
        """Let all connections go."""
        self._pool.close()

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn PostgreSQL's errors into the port's faults."""
        try:
            yield
        except PoolTimeout as error:
            self._away_until = time.monotonic() + _AWAY_S
            raise StoreFault(f"{self.address} can't be reached") from error
        except psycopg.Error as error:
            raise fault_of(error, self.address) from error


def _configure(connection: Connection, settings: Mapping[str, str]) -> None:
    for name, value in {**_VANISHED, **settings}.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
