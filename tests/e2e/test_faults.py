"""Any one part may die, and all may be restarted: nothing is lost, nothing is done twice."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import aiohttp
import pytest

from tests.e2e.audit import check, get
from tests.e2e.cluster import NATS, SERVICES, Cluster
from tests.e2e.faults import away, leading_writer
from tests.e2e.load import BROKEN, UNDONE, PacedBank, loaded
from tests.system.bank import ACCOUNTS

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.faults]

Report = Callable[[str, PacedBank], None]

STALL_S_MAX = 120.0
"""Only to end a test that hangs; how long stalls are is printed at the end."""
AT_THE_EDGE = ("proxy-1", "proxy-2", "entry")
"""Those with connections to clients, which their death breaks. No other's is seen as an error."""


async def test_a_load_without_a_fault_meets_no_error(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    async with asyncio.timeout(STALL_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.kill_process, "reader-1", 0)
        await load.settle()
    report("nothing (signal 0), to compare with", books)
    assert not books.errors
    await check(session, books)


@pytest.mark.parametrize("victim", SERVICES)
async def test_kill_9_of_any_process_loses_and_doubles_nothing(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report, victim: str
) -> None:
    async with asyncio.timeout(STALL_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.kill_process, victim)
        await load.settle()
    report(f"kill -9 {victim}", books)
    if victim not in AT_THE_EDGE:
        assert not books.errors, "latency, not errors"
    cluster.await_healthy()
    await check(session, books)


@pytest.mark.parametrize("gone", NATS)
async def test_requests_go_on_without_one_of_three_nats_servers(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report, gone: str
) -> None:
    async with asyncio.timeout(STALL_S_MAX), loaded(books, session) as load, away(cluster, gone):
        await load.settle()
        report(f"without {gone}", books)
        assert not books.errors, "latency, not errors"
    cluster.await_healthy()
    await check(session, books)


async def test_a_machine_may_die_with_all_that_is_on_it(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    _, writer = await leading_writer(cluster, session)
    machine = (cluster.nats_leader(), "sentinel-1", writer, "reader-1", "proxy-1")
    async with (
        asyncio.timeout(STALL_S_MAX),
        loaded(books, session) as load,
        away(cluster, *machine),
    ):
        await load.settle()
        report(f"without {', '.join(machine)}", books)
        assert books.seen <= BROKEN, "but for connections to its proxy, latency"
    cluster.await_healthy()
    await check(session, books)


async def test_nothing_is_lost_by_a_restart_of_everything(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    async with asyncio.timeout(2 * STALL_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.restart_all)
        await load.settle()
    report("restart of everything at once", books)
    cluster.await_healthy()
    await check(session, books)


async def test_without_a_majority_writes_are_refused_and_reads_go_on(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    async with asyncio.timeout(2 * STALL_S_MAX), loaded(books, session) as load:
        async with away(cluster, *NATS[:2]):
            refused = await asyncio.gather(
                *(until_refused(session, cluster.url, number) for number in range(len(ACCOUNTS)))
            )
            for account in ACCOUNTS:
                await get(session, f"{cluster.url}/wallet/accounts/{account}")
        await load.settle()
    report("two NATS servers killed, then started", books)
    # A reader that lacks what the other one told cannot get it now.
    assert set(books.errors) <= {"202", "503", "GET 409", *UNDONE}
    cluster.await_healthy()
    await check(session, books)
    for payer, transaction_id in zip(ACCOUNTS, refused, strict=True):
        path = f"/wallet/accounts/{payer}/transfers/{transaction_id}"
        async with session.get(f"{cluster.url}{path}") as response:
            assert response.status == 404, "a 503 says that nothing was sent"


async def until_refused(session: aiohttp.ClientSession, url: str, number: int) -> str:
    """Try transfers of a payer until one is refused because nobody takes it; give its id.

    Before that their outcome may stay unknown: who leads a stream needs some time to notice that it
    leads nobody. Nobody has so much money, so none of them moves any, whatever becomes of it.
    """
    for attempt in count():
        body = {
            "from_account_id": ACCOUNTS[number],
            "to_account_id": ACCOUNTS[number - 1],
            "amount": "1000000.00",
            "currency": "USD",
            "transaction_id": f"refused-{number}-{attempt}",
        }
        async with session.post(f"{url}/wallet/transfer", json=body) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
            if response.status == 202:
                continue
            assert response.status == 503, answer
            assert response.headers["Retry-After"] == "1"
            assert answer["code"] == "unavailable"
            return str(body["transaction_id"])
    raise AssertionError("there is always another attempt")


async def test_data_survives_down_and_up(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank
) -> None:
    async with loaded(books, session):
        pass
    cluster.down()
    cluster.up()
    await check(session, books)
