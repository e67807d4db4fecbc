"""Brings the database's schema to the version that this program knows, whoever starts first."""

from pathlib import Path
from typing import Final

import psycopg
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import Connection, sql

from reader.adapters.store_postgresql_database import SCHEMA, check_server, connected
from reader.adapters.store_postgresql_faults import fault_of
from reader.config import DatabaseAddress
from reader.ports import StoreUnfit

_ADVISORY: Final = 0x4577_616C  # "Ewal": the first key of our advisory locks
MIGRATING: Final = 1
REBUILDING: Final = 2

_MIGRATIONS: Final = Path(__file__).with_name("migrations")


def migrate(address: DatabaseAddress, *, schema: str = SCHEMA) -> None:
    """Make or upgrade the schema; several readers may do so at once.

    Raise StoreUnfit for a schema of a newer version, or if the user may not make one.
    """
    with connected(address, schema=schema) as connection:
        try:
            check_server(connection, address)
            connection.execute("SELECT pg_advisory_lock(%s, %s)", (_ADVISORY, MIGRATING))
            _provide_schema(connection, schema)
            _upgrade(connection, address, schema)
        except psycopg.Error as error:
            raise fault_of(error, address) from error
        except sqlalchemy.exc.DBAPIError as error:
            if isinstance(error.orig, psycopg.Error):
                raise fault_of(error.orig, address) from error
            raise


def try_lock(connection: Connection, key: int) -> bool:
    """Take one of our advisory locks until the connection ends, if nobody has it."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (_ADVISORY, key)).fetchone()
    return row is not None and bool(row[0])


def _provide_schema(connection: Connection, schema: str) -> None:
    # IF NOT EXISTS would want the right to make one even where the owner of the database did.
    found = connection.execute(
        "SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)
    ).fetchone()
    if found is None:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))


def _upgrade(connection: Connection, address: DatabaseAddress, schema: str) -> None:
    """With the lock held. Alembic works through SQLAlchemy, here on the connection we have."""
    connection.autocommit = False
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=sqlalchemy.StaticPool
    )
    with engine.connect() as bound:
        config = Config(attributes={"connection": bound, "schema": schema})
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.set_main_option("path_separator", "os")
        _check_version(bound, config, address, schema)
        command.upgrade(config, "head")
        bound.commit()


def _check_version(
    bound: sqlalchemy.Connection, config: Config, address: DatabaseAddress, schema: str
) -> None:
    context = MigrationContext.configure(bound, opts={"version_table_schema": schema})
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    strange = sorted(set(context.get_current_heads()) - known)
    if strange:
        raise StoreUnfit(
            f"The read store in {address} has schema version {strange[0]}, this program knows "
            f"{', '.join(sorted(known))}: a newer version made it. Run that version, or let this "
            "one make it anew: stop all readers, DROP SCHEMA ewallet CASCADE, and start one."
        )
