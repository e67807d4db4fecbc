"""One cluster for all end-to-end tests, and a table of what each fault cost its clients."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.cluster import Cluster, missing_for_docker
from tests.e2e.load import PacedBank, connected
from tests.system.bank import open_accounts

_FAULTS = pytest.StashKey[list[tuple[str, float, dict[str, int]]]]()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A wallet that is open for business; nothing of it is left, but the images."""
    if lack := missing_for_docker():
        pytest.fail(f"The end-to-end tests run on docker compose, and {lack}.")
    cluster = Cluster(f"ewallet-e2e-{secrets.token_hex(4)}")
    cluster.build()
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down(forget=True)


@pytest.fixture(scope="session")
def books(cluster: Cluster) -> PacedBank:
    """What clients were ever told by this cluster."""
    return PacedBank(cluster.url)


@pytest.fixture
async def session(cluster: Cluster) -> AsyncIterator[aiohttp.ClientSession]:
    """Connections of clients whose accounts are open."""
    async with connected() as session:
        await open_accounts(session, cluster.url)
        yield session


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str, PacedBank], None]:
    """Note what clients saw of a fault, for the table at the end."""

    def note(fault: str, bank: PacedBank) -> None:
        line = (fault, bank.longest_s, dict(bank.errors))
        request.config.stash.setdefault(_FAULTS, []).append(line)

    return note


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table."""
    faults = config.stash.get(_FAULTS, [])
    if not faults:
        return
    terminalreporter.section("the longest that a client waited, repeats included")
    for fault, longest_s, errors in faults:
        told = ", ".join(f"{error}: {count}" for error, count in sorted(errors.items()))
        terminalreporter.write_line(f"{fault:<40} {longest_s:6.2f} s   {told or 'no error'}")
