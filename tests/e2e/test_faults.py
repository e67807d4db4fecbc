"""Any one part may die, and all may be restarted: nothing is lost, nothing is done twice."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from tests.e2e.audit import check
from tests.e2e.cluster import NATS, SERVICES, Cluster
from tests.e2e.load import PacedBank, loaded

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.faults]

Report = Callable[[str, PacedBank], None]

STALL_S_MAX = 120.0
"""Only to end a test that hangs; how long stalls are is printed at the end."""
OUTAGE_S = 20.0
"""Longer than a broker without a majority takes to notice it."""


@pytest.mark.parametrize("victim", SERVICES)
async def test_kill_9_of_any_process_loses_and_doubles_nothing(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report, victim: str
) -> None:
    async with asyncio.timeout(STALL_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.kill_process, victim)
        await load.settle()
    report(f"kill -9 {victim}", books)
    cluster.up()
    await check(session, books)


async def test_requests_go_on_without_one_of_three_nats_servers(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    for gone in NATS:
        async with asyncio.timeout(STALL_S_MAX), loaded(books, session) as load:
            await asyncio.to_thread(cluster.stop_hard, gone)
            await load.settle()
            report(f"without {gone}", books)
            assert not books.errors, "latency, not errors"
            await asyncio.to_thread(cluster.start, gone)
        cluster.up()
    await check(session, books)


async def test_nothing_is_lost_by_a_restart_of_everything(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    async with asyncio.timeout(2 * STALL_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.restart)
        await load.settle()
    report("restart of everything at once", books)
    cluster.up()
    await check(session, books)


async def test_data_survives_down_and_up(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank
) -> None:
    async with loaded(books, session):
        pass
    cluster.down()
    cluster.up()
    await check(session, books)
