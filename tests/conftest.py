"""What tests of several packages share. None may fail because the machine was slow."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

from reader.config import DatabaseAddress
from tests.postgresql_server import PostgresqlServer

settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")


@contextmanager
def _running_server() -> Iterator[PostgresqlServer]:
    server = PostgresqlServer()
    try:
        server.start()
        yield server
    finally:
        server.end()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server that nobody may harm."""
    with _running_server() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[PostgresqlServer]:
    """A server to be harmed."""
    with _running_server() as server:
        yield server


@pytest.fixture
def database(postgresql_server: PostgresqlServer) -> DatabaseAddress:
    """An empty database."""
    return postgresql_server.new_database()
