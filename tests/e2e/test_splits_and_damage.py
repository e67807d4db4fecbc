"""What is split off, stands still, or comes back with damaged files: nothing wrong is served."""

import asyncio
import time
from collections.abc import Callable, Sequence
from random import Random

import aiohttp
import pytest

from tests.e2e.audit import check
from tests.e2e.cluster import NATS, SMALL_DISK, Cluster
from tests.e2e.faults import (
    Fault,
    cost_of,
    cost_of_full_disk,
    deposed,
    leaders,
    leading_writer,
    random_pair,
    together,
)
from tests.e2e.journals import assert_all_whole_and_equal, damage, empty, lacking
from tests.e2e.load import PacedBank, loaded

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.faults]

Report = Callable[[str, PacedBank], None]

STALL_S_MAX = 180.0
"""Only to end a test that hangs."""
SEED = 7
"""Of how long pauses and splits last, and of the pairs: those of this one take NATS servers too."""

SHORT = [
    Fault("pause", "leading NATS server"),
    Fault("split", "leading NATS server"),
    Fault("split", "leading writer"),
    Fault("pause", "reader-1"),
    Fault("split", "proxy-1"),
    Fault("pause", "postgres"),
]
"""Those that show most; `make chaos` goes through all. Replacing stops each service in its turn."""
_CHANCE = Random(SEED)
PAIRS = [random_pair(_CHANCE) for _ in range(2)]
assert all(any(fault.service in NATS for fault in pair) for pair in PAIRS), "take another SEED"


@pytest.mark.parametrize("fault", SHORT, ids=str)
async def test_a_fault_under_load_loses_nothing(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report, fault: Fault
) -> None:
    victim = fault.service
    if victim == "leading NATS server":
        victim = cluster.nats_leader()
    elif victim == "leading writer":
        _, victim = await leading_writer(cluster, session)
    await cost_of([Fault(fault.kind, victim)], cluster, session, books, Random(SEED))
    report(f"{fault} ({victim})", books)
    assert books.cost.lost == 0


@pytest.mark.parametrize("pair", PAIRS, ids=together)
async def test_two_faults_at_a_time_lose_nothing(
    cluster: Cluster,
    session: aiohttp.ClientSession,
    books: PacedBank,
    report: Report,
    pair: Sequence[Fault],
) -> None:
    await cost_of(pair, cluster, session, books, Random(SEED))
    report(together(pair), books)
    assert books.cost.lost == 0


async def test_requests_go_on_while_the_disk_of_one_nats_server_is_full(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    await cost_of_full_disk(cluster, session, books)
    report(f"full disk under {SMALL_DISK}", books)
    assert not books.errors, "latency, not errors"
    assert books.cost.lost == 0
    assert_all_whole_and_equal(cluster)


async def test_a_writer_that_stood_still_while_another_took_over_counts_for_nothing(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    async with asyncio.timeout(STALL_S_MAX), loaded(books, session) as load:
        writer, service = await leading_writer(cluster, session)
        await asyncio.to_thread(cluster.pause, service)
        await deposed(writer, cluster, session)
        await load.settle()
        assert writer not in await leaders(cluster, session)
        await asyncio.to_thread(cluster.unpause, service)
        await load.settle()
        await asyncio.to_thread(cluster.await_healthy)
        await load.settle()
    report(f"{service} paused until the other led all, then on", books)
    await check(session, books)
    assert_all_whole_and_equal(cluster)


async def test_a_damaged_copy_is_healed_or_named_and_never_served(
    cluster: Cluster, session: aiohttp.ClientSession, books: PacedBank, report: Report
) -> None:
    """nats-server gives up what a damaged block held, and gets back what Raft's log still has."""
    victim = "nats-2"
    cluster.restart(victim)  # so that it makes snapshots of its Raft logs, and cuts these
    cluster.await_healthy()
    async with asyncio.timeout(STALL_S_MAX), loaded(books, session) as load:
        await asyncio.to_thread(cluster.stop_hard, victim)
        await load.settle()
        await asyncio.to_thread(damage, cluster, victim)
        await asyncio.to_thread(cluster.start, victim)
        await asyncio.to_thread(cluster.await_healthy)
        await load.settle()
    lost = await asyncio.to_thread(lacking, cluster, victim)
    healed = "by itself" if not lost else "but for " + ", ".join(lost)
    report(f"{victim} killed, 3 journals damaged: healed {healed}", books)
    await asyncio.to_thread(named, cluster, victim, lost)
    # Every journal is read once more from its beginning, whichever copy that comes from.
    await asyncio.to_thread(cluster.run_in, "reader-1", "ewallet", "reader", "rebuild")
    await check(session, books)
    if lost:
        cluster.stop(victim)
        empty(cluster, victim)
        cluster.start(victim)
        cluster.await_healthy()
    assert_all_whole_and_equal(cluster)
    await check(session, books)


def named(cluster: Cluster, server: str, streams: list[str]) -> None:
    """Return when a writer has said of each of these journals that the server lost some of it."""
    deadline_s = time.monotonic() + STALL_S_MAX
    while True:
        logs = cluster.logs("writer-1", "writer-2", lines=2_000)
        told = [line for line in logs.splitlines() if f"//{server}:" in line and " lost " in line]
        if all(any(f"of {stream}," in line for line in told) for stream in streams):
            return
        assert time.monotonic() < deadline_s, logs
        time.sleep(0.5)
