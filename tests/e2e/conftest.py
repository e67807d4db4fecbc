"""One cluster for all end-to-end tests, and a table of what each fault cost its clients."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.cluster import Cluster, missing_for_docker
from tests.e2e.costs import Cost, terminal
from tests.e2e.load import PacedBank, connected
from tests.e2e.logs import has_unexplained_stall, keep_logs
from tests.system.bank import open_accounts

_COSTS = pytest.StashKey[list[tuple[str, Cost]]]()


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
def report(request: pytest.FixtureRequest, cluster: Cluster) -> Callable[[str, PacedBank], None]:
    """Note what clients saw of a fault, for the table at the end; keep logs of a long stall."""

    def note(fault: str, bank: PacedBank) -> None:
        if has_unexplained_stall(bank):
            fault += f" ({keep_logs(cluster, bank, fault, Path('e2e-report'))})"
        request.config.stash.setdefault(_COSTS, []).append((fault, bank.cost))

    return note


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table."""
    costs = config.stash.get(_COSTS, [])
    if not costs:
        return
    terminalreporter.section("what each fault cost")
    for line in terminal(costs):
        terminalreporter.write_line(line)
