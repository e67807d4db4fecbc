"""Every container is replaced by a new one, as docs/availability.md says for an upgrade."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from tests.e2e.audit import check
from tests.e2e.cluster import UPGRADE, Cluster
from tests.e2e.faults import cost_of_replacing
from tests.e2e.load import BROKEN, PacedBank, loaded

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.faults]

Report = Callable[[str, PacedBank], None]

NOTICED = {"proxy-1": BROKEN, "entry": BROKEN | {"ClientConnectorError"}}
"""What clients see, by the first that a step replaces; of all others only latency."""
STALL_S_MAX = 120.0
"""Only to end a test that hangs."""


@pytest.mark.parametrize("services", UPGRADE, ids=", ".join)
async def test_an_upgrade_costs_latency_and_at_the_edge_connections(
    cluster: Cluster,
    session: aiohttp.ClientSession,
    books: PacedBank,
    report: Report,
    services: tuple[str, ...],
) -> None:
    await cost_of_replacing(services, cluster, session, books)
    report(f"{', '.join(services)} replaced", books)
    assert books.seen <= NOTICED.get(services[0], frozenset())
    assert books.cost.lost == 0


async def test_a_reader_with_files_of_its_own_shows_what_one_with_postgresql_does(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    try:
        async with asyncio.timeout(STALL_S_MAX), loaded(books, session) as load:
            await asyncio.to_thread(cluster.replace, "reader-2", EWALLET_READ_STORE="sqlite")
            await asyncio.to_thread(cluster.kill_process, "reader-2")  # it goes on from its files
            await load.settle()
            await asyncio.to_thread(cluster.await_healthy)
            await asyncio.to_thread(cluster.stop, "reader-1")
            await load.settle()
        report("reader-2 on SQLite killed, then the only one", books)
        assert not books.errors, "latency, not errors"
        await check(session, books)
    finally:  # the tests behind this one have the same cluster
        cluster.start("reader-1")
        cluster.await_healthy()
        cluster.replace("reader-2")
        cluster.await_healthy()
