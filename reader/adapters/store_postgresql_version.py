"""Tells whether the database's schema is the one that this program's statements are written for."""

from typing import Final

import psycopg
from psycopg.errors import UndefinedTable

from reader.adapters.store_postgresql_database import SCHEMA, check_server, connected
from reader.adapters.store_postgresql_faults import fault_of
from reader.config import DatabaseAddress

VERSION: Final = "1"
"""The newest migration's."""


def is_current(address: DatabaseAddress, *, schema: str = SCHEMA) -> bool:
    """Whether nothing is to be made or upgraded. Raise StoreUnfit or StoreFault."""
    with connected(address, schema=schema) as connection:
        try:
            check_server(connection, address)
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        except UndefinedTable:
            return False
        except psycopg.Error as error:
            raise fault_of(error, address) from error
        return rows == [(VERSION,)]
