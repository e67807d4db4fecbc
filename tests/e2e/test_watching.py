"""Balances are watched through the entry while what tells of them is killed: nothing is missed."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from tests.e2e.audit import check
from tests.e2e.cluster import Cluster
from tests.e2e.load import PacedBank, loaded
from tests.system.bank import ACCOUNTS, minor
from tests.system.watcher import Watcher

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.faults]

Report = Callable[[str, PacedBank], None]

VICTIMS = ("proxy-1", "proxy-2", "reader-1")
"""One of the two proxies has the connection."""
STALL_S_MAX = 120.0
"""Only to end a test that hangs."""


async def test_who_watches_is_told_every_entry_once_and_in_order_whatever_is_killed(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    watcher = Watcher(cluster.url)
    watching = asyncio.create_task(watcher.run())
    try:
        async with asyncio.timeout(STALL_S_MAX):
            await watcher.reach(dict.fromkeys(ACCOUNTS, 1))
            async with loaded(books, session) as load:
                for victim in VICTIMS:
                    await asyncio.to_thread(cluster.kill_process, victim)
                    await load.settle()
                    await asyncio.to_thread(cluster.await_healthy)
        report(f"{', '.join(VICTIMS)} killed while somebody watches", books)
        await check(session, books)
        entries = {name: each.lines for name, each in books.history.statements.items()}
        async with asyncio.timeout(STALL_S_MAX):
            await watcher.reach({name: lines[-1].sequence for name, lines in entries.items()})
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert watcher.losses, "the proxy that told it was killed"
    assert not +watcher.faults, watcher.faults
    for account, lines in entries.items():
        begun, end = watcher.begun[account], lines[-1].sequence
        assert [
            (change.sequence, change.transaction_id, minor(change.balance))
            for change in watcher.changes.get(account, [])
            if change.direction in ("debit", "credit") and change.sequence <= end
        ] == [
            (line.sequence, line.transaction_id, line.balance_minor)
            for line in lines
            if line.sequence > begun
        ]
