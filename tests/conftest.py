"""What tests of several packages share. None may fail because the machine was slow."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from hypothesis import settings

from reader.config import DatabaseAddress
from simulation.loop import VirtualLoop
from tests.postgresql_server import PostgresqlServer

settings.register_profile("without deadlines", deadline=None)
settings.load_profile("without deadlines")

_VIRTUAL_S_MAX = 1e5
"""Far more than any deadline of a test: only to end one that hangs."""


_IS_VIRTUAL: Final = pytest.StashKey[bool]()
"""Whether the test that runs now is in virtual time."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note how the test runs, before its loop is made."""
    item.config.stash[_IS_VIRTUAL] = item.get_closest_marker("virtual_time") is not None


def pytest_asyncio_loop_factories(
    config: pytest.Config,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests that are marked so run in virtual time, all others on a loop of asyncio.

    It is asked before there are parameters, whose marks count too: so the loop is chosen when it
    is made.
    """

    def new_loop() -> asyncio.AbstractEventLoop:
        is_virtual = config.stash[_IS_VIRTUAL]
        return VirtualLoop(_VIRTUAL_S_MAX) if is_virtual else asyncio.new_event_loop()

    return {"as marked": new_loop}


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
