"""Changes on their way to watchers: only what is watched is heard, and what is missed is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count, islice
from pathlib import Path

import pytest

from contracts.changes import ChangeFrame
from contracts.commands import OpenAccount, Transfer
from contracts.frames import CHANGE_FRAME, LISTEN
from contracts.limits import CHANGES_QUERY_ACCOUNTS_MAX
from contracts.queries import (
    AccountChanges,
    ChangesAnswer,
    ChangesQuery,
    decode_query,
    encode_answer,
)
from contracts.subjects import READER_QUEUE, change_subject, listen_subject, query_subject
from proxy.core.watch import Changed, News, Standing
from proxy.ports import Telling
from proxy.service.changes import BrokerWatches
from proxy.service.gateway import BrokerGateway
from runtime.process import lose
from tests.proxy.world import WAIT_MS, World, running, submit

pytestmark = pytest.mark.virtual_time

DEADLINE_S = 30.0


class Watcher:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[News] = []
        self._came = asyncio.Event()

    def tell(self, telling: Telling) -> None:
        self.heard.append(telling.news)
        self._came.set()

    async def until(self, is_enough: Callable[[list[News]], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not is_enough(self.heard):
                self._came.clear()
                await self._came.wait()


@asynccontextmanager
async def watches(world: World, gateway: BrokerGateway) -> AsyncIterator[BrokerWatches]:
    made = BrokerWatches(world.proxy_connection, "proxy", world.slots, gateway)
    async with running(made.run()):
        yield made


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return World(tmp_path, 2)


FAR = 2**53
MANY = 20
"""More than are asked at a time, where each has a query of its own."""


@pytest.fixture
def _small_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.service.changes.CHANGES_QUERY_ACCOUNTS_MAX", 1)


def accounts_in(world: World, partition: int, number: int) -> list[str]:
    """Names that live there."""
    names = (f"a{each}" for each in count())
    return list(islice((n for n in names if world.slots.partition_of(n) == partition), number))


async def test_a_proxy_hears_only_partitions_that_are_watched(world: World) -> None:
    heard: list[bytes] = []
    async with world.gateway() as gateway, world.reader(), world.writer():
        near, payer = accounts_in(world, 0, 2)
        payers, payees = [payer], [near]
        for each, name in zip((payees, payers), accounts_in(world, 1, 2), strict=True):
            each.append(name)
        for account_id in (*payers, *payees):
            await gateway.submit(OpenAccount(account_id, "USD", 100), wait_ms=WAIT_MS)
        for partition in (0, 1):
            await world.server.connect().subscribe(change_subject(partition), heard.append)
        async with watches(world, gateway) as made:
            watcher = Watcher()
            made.watch(watcher, near, None)
            await watcher.until(bool)
            subscribed = world.server.subscriptions
            of_proxy = [
                subject
                for subject, each in subscribed.items()
                if any(one.connection is world.proxy_connection for one in each)
            ]
            assert change_subject(0) in of_proxy
            assert change_subject(1) not in of_proxy
            await submit(
                gateway,
                *(Transfer(*pair, 1, "USD", "t") for pair in zip(payers, payees, strict=True)),
            )
            await watcher.until(lambda told: isinstance(told[-1], Changed))
    frames = [CHANGE_FRAME.decode(data) for data in heard]
    assert {frame.partition for frame in frames if frame.versions} == {0}
    pushed = [change.account_id for frame in frames for change in frame.changes]
    assert pushed == [near], "of a listened partition, only what is watched"


async def test_more_accounts_than_fit_into_one_query(world: World) -> None:
    """Also when all of them missed something."""
    number = 2 * CHANGES_QUERY_ACCOUNTS_MAX + 44
    ids = [f"a{each}" for each in range(number)]
    async with world.gateway() as gateway, world.reader(), world.writer():
        await submit(gateway, OpenAccount("bank", "USD", number + 2), *map(opening, ids))
        async with watches(world, gateway) as made:
            watcher = Watcher()
            for account_id in ids:
                made.watch(watcher, account_id, None)
            await watcher.until(lambda told: len(told) == number)
            states = [each for each in watcher.heard if isinstance(each, Standing)]
            assert {each.terms.account_id for each in states} == set(ids)
            watcher.heard.clear()
            world.proxy_connection.cut()
            other = world.server.connect()
            paying = BrokerGateway(other, "other", world.slots)
            async with running(paying.run()):
                await asyncio.sleep(0)
                await submit(paying, *(pay(account_id) for account_id in ids))
                world.proxy_connection.mend()
                await submit(paying, *(pay(account_id, "again") for account_id in ids[:2]))
            await watcher.until(lambda told: len(told) == number + 2)
    heard = [each for each in watcher.heard if isinstance(each, Changed)]
    told = [(each.change.account_id, each.change.transaction_id) for each in heard]
    assert sorted(told) == sorted(
        [*((each, f"once-{each}") for each in ids), *((each, f"again-{each}") for each in ids[:2])]
    )


async def test_a_bug_in_telling_a_change_ends_the_process(world: World) -> None:
    """Others would have missed it without a word."""

    class Broken(Watcher):
        def tell(self, telling: Telling) -> None:
            super().tell(telling)
            assert not isinstance(telling.news, Changed), "a bug"

    payer, payee = accounts_in(world, 0, 2)
    async with world.gateway() as gateway, world.reader(), world.writer():
        await submit(gateway, OpenAccount(payer, "USD", 9), opening(payee))
        async with watches(world, gateway) as made:
            broken = Broken()
            made.watch(broken, payee, None)
            await broken.until(bool)
            ending = asyncio.create_task(lose(world.proxy_connection))
            await submit(gateway, Transfer(payer, payee, 1, "USD", "t"))
            with pytest.raises(AssertionError, match="a bug"):
                async with asyncio.timeout(DEADLINE_S):
                    await ending


@pytest.mark.usefixtures("_small_queries")
@pytest.mark.parametrize("partition", [0, 1])
async def test_nobody_waits_for_those_who_claim_to_know_the_future(
    world: World, partition: int
) -> None:
    """Neither in the same partition nor in another one."""
    first, second, *far = accounts_in(world, 0, 2 + MANY)
    if partition:
        far = accounts_in(world, partition, MANY)
    async with world.gateway() as gateway, world.reader(), world.writer():
        await submit(gateway, opening(first), opening(second), *map(opening, far))
        async with watches(world, gateway) as made:
            watcher = Watcher()
            for account_id in far:
                made.watch(watcher, account_id, FAR)
            made.watch(watcher, first, None)
            await watcher.until(bool)
            made.watch(watcher, second, None)
            await watcher.until(lambda told: len(told) >= 2)
    states = [each for each in watcher.heard if isinstance(each, Standing)]
    assert [each.terms.account_id for each in states] == [first, second]


@pytest.mark.usefixtures("_small_queries")
@pytest.mark.parametrize("is_same", [False, True])
async def test_who_is_a_little_ahead_does_not_wait_for_who_is_far(
    world: World,
    is_same: bool,  # noqa: FBT001 # drawn
) -> None:
    """Be they many, or on the same account."""
    near, payer, *far = accounts_in(world, 0, 2 + MANY)
    async with world.gateway() as gateway, world.reader(), world.writer():
        await submit(gateway, *map(opening, (near, *far)))
        opened = await gateway.submit(OpenAccount(payer, "USD", 9), wait_ms=WAIT_MS)
        assert opened is not None
        async with watches(world, gateway) as made:
            watcher, others, first = Watcher(), Watcher(), Watcher()
            for account_id in [near] if is_same else far:
                made.watch(others, account_id, FAR)
            made.watch(first, payer, None)
            await first.until(bool)
            made.watch(watcher, near, opened.sequence + 1)
            await submit(gateway, Transfer(payer, near, 1, "USD", "t"))
            await watcher.until(bool)
            assert others.heard == []
    (state,) = watcher.heard
    assert isinstance(state, Standing)
    assert (state.terms.account_id, state.sequence) == (near, opened.sequence + 1)


@pytest.mark.usefixtures("_small_queries")
async def test_a_partition_without_a_reader_holds_up_no_other(world: World) -> None:
    """It was there a moment ago, so the proxy has a lot to ask it."""
    reader = world.server.connect()
    for partition in (0, 1):
        await reader.subscribe(listen_subject(partition), covering(world, partition))
    await reader.serve(query_subject(0), standing_at_1, queue=READER_QUEUE)
    async with world.gateway() as gateway, watches(world, gateway) as made:
        watcher = Watcher()
        for account_id in accounts_in(world, 1, MANY):
            made.watch(watcher, account_id, None)
        first, second = accounts_in(world, 0, 2)
        made.watch(watcher, first, None)
        await watcher.until(bool)
        made.watch(watcher, second, None)
        await watcher.until(lambda told: len(told) >= 2)
    states = [each for each in watcher.heard if isinstance(each, Standing)]
    assert [each.terms.account_id for each in states] == [first, second]


@pytest.mark.usefixtures("_small_queries")
async def test_the_queries_of_a_process_are_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside one for each partition, which none must wait for."""
    monkeypatch.setattr("proxy.service.changes._MORE_QUERIES_MAX", 1)
    out, most = set[str](), 0

    async def answer(data: bytes) -> bytes:
        nonlocal most
        query = decode_query(data)
        assert isinstance(query, ChangesQuery)
        (mark,) = query.marks
        out.add(mark.account_id)
        most = max(most, len(out))
        await asyncio.sleep(0.1)  # virtual: meanwhile everything comes that is out
        out.discard(mark.account_id)
        return await standing_at_1(data)

    reader = world.server.connect()
    for partition in (0, 1):
        await reader.subscribe(listen_subject(partition), covering(world, partition))
        await reader.serve(query_subject(partition), answer, queue=READER_QUEUE)
    async with world.gateway() as gateway, watches(world, gateway) as made:
        watcher = Watcher()
        for account_id in (*accounts_in(world, 0, MANY), *accounts_in(world, 1, MANY)):
            made.watch(watcher, account_id, None)
        await watcher.until(lambda told: len(told) == 2 * MANY)
    assert most == 3


def covering(world: World, partition: int) -> Callable[[bytes], None]:
    """A reader that pushes nothing but that it covers whoever listens."""

    def hear(data: bytes) -> None:
        listen = LISTEN.decode(data)
        frame = ChangeFrame(partition, 1, 1, {listen.proxy_id: listen.version}, [])
        world.server.publish(change_subject(partition), CHANGE_FRAME.encode(frame))

    return hear


async def standing_at_1(data: bytes) -> bytes:
    query = decode_query(data)
    assert isinstance(query, ChangesQuery)
    stands = AccountChanges("USD", 0, 5, 0, 1, [])
    return encode_answer(ChangesAnswer(0, 1, 1, [stands for _ in query.marks]))


def opening(account_id: str) -> OpenAccount:
    return OpenAccount(account_id, "USD", 0)


def pay(account_id: str, prefix: str = "once") -> Transfer:
    return Transfer("bank", account_id, 1, "USD", f"{prefix}-{account_id}")
