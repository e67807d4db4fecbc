"""What tests of several packages share. None may fail because the machine was slow."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

from reader.config import DatabaseAddress
from simulation.loop import VirtualLoop
from tests.postgresql_server import PostgresqlServer

settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

_VIRTUAL_S_MAX = 1e5
"""Far more than any deadline of a test: only to end one that hangs."""


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests that are marked so run in virtual time, all others on a loop of asyncio."""
    if item.get_closest_marker("virtual_time"):
        return {"virtual": lambda: VirtualLoop(_VIRTUAL_S_MAX)}
    return {"real": asyncio.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that at the end no core is idle beside one of them."""
    items.sort(key=lambda item: item.get_closest_marker("faults") is None)


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
