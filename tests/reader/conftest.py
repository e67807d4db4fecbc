"""The read stores that keep the same promises."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from reader.adapters.store_postgresql_database import Database
from reader.adapters.store_postgresql_migrating import migrate
from reader.config import DatabaseAddress
from tests.reader.desk import Place, PostgresqlPlace, SqlitePlace


@pytest.fixture
def tables(database: DatabaseAddress) -> Iterator[Database]:
    """Connections to an empty read store."""
    migrate(database)
    with closing(Database(database, 1)) as connections:
        yield connections


@pytest.fixture
def postgresql_place(tables: Database) -> Iterator[PostgresqlPlace]:
    """An empty store in a database."""
    with ExitStack() as closing_at_end:
        yield PostgresqlPlace(tables, closing_at_end)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store of either kind."""
    if request.param == "sqlite":
        return SqlitePlace(tmp_path)
    found: Place = request.getfixturevalue("postgresql_place")
    return found
