"""Any one part may die, and all may be restarted: nothing is lost, nothing is done twice."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.e2e.audit import check, get
from tests.e2e.cluster import NATS, SERVICES, Cluster
from tests.e2e.load import PacedBank, loaded
from tests.system.bank import ACCOUNTS

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
    cluster.await_healthy()
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
        cluster.await_healthy()
    await check(session, books)


async def test_nothing_is_lost_by_a_restart_of_everything(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    async with asyncio.timeout(2 * STALL_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.restart)
        await load.settle()
    report("restart of everything at once", books)
    cluster.await_healthy()
    await check(session, books)


async def test_without_a_majority_writes_are_refused_and_reads_go_on(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    async with asyncio.timeout(2 * STALL_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.stop_hard, *NATS[:2])
        await asyncio.sleep(OUTAGE_S)
        refused = await asyncio.gather(*(attempt(session, cluster.url, n) for n in range(20)))
        assert [answer["code"] for answer in refused] == ["unavailable"] * 20
        for account in ACCOUNTS:
            await get(session, f"{cluster.url}/wallet/accounts/{account}")
        await asyncio.to_thread(cluster.start, *NATS[:2])
        await load.settle()
    report("two NATS servers killed, then started", books)
    # A reader that lacks what the other one told cannot get it now.
    assert set(books.errors) <= {"202", "503", "GET 409"}
    cluster.await_healthy()
    await check(session, books)
    for number in range(20):
        path = f"/wallet/accounts/{ACCOUNTS[number]}/transfers/refused-{number}"
        async with session.get(f"{cluster.url}{path}") as response:
            assert response.status == 404, "a 503 says that nothing was sent"


async def attempt(session: aiohttp.ClientSession, url: str, number: int) -> dict[str, Any]:
    """Try a transfer of each payer that must be refused with 503."""
    body = {
        "from_account_id": ACCOUNTS[number],
        "to_account_id": ACCOUNTS[number - 1],
        "amount": "1.00",
        "currency": "USD",
        "transaction_id": f"refused-{number}",
    }
    async with session.post(f"{url}/wallet/transfer", json=body) as response:
        assert response.status == 503, await response.text()
        assert response.headers["Retry-After"] == "1"
        problem: dict[str, Any] = await response.json(content_type=None)
        return problem


async def test_data_survives_down_and_up(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank
) -> None:
    async with loaded(books, session):
        pass
    cluster.down()
    cluster.up()
    await check(session, books)
