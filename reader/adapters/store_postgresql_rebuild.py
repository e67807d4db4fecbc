"""A store that is made anew beside the present one, which readers go on using.

The schema `ewallet_building` is filled; then the schemas change their names in one transaction.
Before that nobody else may write for a moment, so that the new rows reach at least as far as the
present ones do.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import Connection, sql

from reader.adapters.store_postgresql_database import SCHEMA, connected
from reader.adapters.store_postgresql_faults import fault_of
from reader.adapters.store_postgresql_migrating import REBUILDING, migrate, try_lock
from reader.config import DatabaseAddress
from reader.ports import ReaderUnfit

BUILDING: Final = "ewallet_building"
_REPLACED: Final = "ewallet_replaced"


class Rebuild:
    """The one rebuild of a database that runs."""

    def __init__(self, connection: Connection, address: DatabaseAddress) -> None:
        self._connection = connection
        self._address = address

    def hold_writers(self) -> dict[int, int]:
        """Keep readers from writing from now on; give each partition's stream sequence.

        They read on. `switch` lets them go, and so does the end of the rebuild.
        """
        with _faults(self._address):
            self._connection.autocommit = False
            self._connection.execute("LOCK TABLE cursors IN EXCLUSIVE MODE")
            cursors = self._connection.execute("SELECT partition, stream_sequence FROM cursors")
            return dict(cursors.fetchall())

    def switch(self) -> None:
        """Let the new rows be the present ones, and remove the others."""
        with _faults(self._address):
            _rename(self._connection, SCHEMA, _REPLACED)
            _rename(self._connection, BUILDING, SCHEMA)
            self._connection.commit()
            self._connection.autocommit = True
            _drop(self._connection, _REPLACED)


@contextmanager
def rebuilding(address: DatabaseAddress) -> Iterator[Rebuild]:
    """Begin a rebuild with an empty schema. Raise ReaderUnfit if another one runs.

    What is not switched to is left there, and removed by the next rebuild.
    """
    migrate(address)
    with connected(address) as connection:
        with _faults(address):
            if not try_lock(connection, REBUILDING):
                raise ReaderUnfit(f"Another rebuild of {address} runs: wait for its end.")
            for schema in (BUILDING, _REPLACED):
                _drop(connection, schema)
        yield Rebuild(connection, address)


def _rename(connection: Connection, schema: str, name: str) -> None:
    statement = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
    connection.execute(statement.format(sql.Identifier(schema), sql.Identifier(name)))


def _drop(connection: Connection, schema: str) -> None:
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


@contextmanager
def _faults(address: DatabaseAddress) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise fault_of(error, address) from error
