"""Changes on their way to watchers: only what is watched is heard, and what is missed is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from contracts.commands import OpenAccount, Transfer
from contracts.frames import CHANGE_FRAME
from contracts.limits import CHANGES_QUERY_ACCOUNTS_MAX
from contracts.subjects import change_subject
from proxy.core.watch import Changed, Standing
from proxy.ports import Telling
from proxy.service.changes import BrokerWatches
from proxy.service.gateway import BrokerGateway
from tests.proxy.test_service import WAIT_MS, World, running, submit

pytestmark = pytest.mark.virtual_time

DEADLINE_S = 30.0


class Watcher:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[Standing | Changed] = []
        self._came = asyncio.Event()

    def tell(self, telling: Telling) -> None:
        assert isinstance(telling.news, Standing | Changed)
        self.heard.append(telling.news)
        self._came.set()

    async def until(self, is_enough: Callable[[list[Standing | Changed]], bool]) -> None:
        while not is_enough(self.heard):
            self._came.clear()
            await self._came.wait()


@asynccontextmanager
async def watches(world: World, gateway: BrokerGateway) -> AsyncIterator[BrokerWatches]:
    made = BrokerWatches(world.proxy_connection, "proxy", world.slots, gateway)
    async with running(made.run()):
        yield made


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with asyncio.timeout(DEADLINE_S):
        yield World(tmp_path, 2)


def account_in(world: World, partition: int, *, before: str = "") -> str:
    """A name that lives there."""
    return next(
        name
        for name in (f"a{number}" for number in count())
        if world.slots.partition_of(name) == partition and name != before
    )


async def test_a_proxy_hears_only_partitions_that_are_watched(world: World) -> None:
    heard: list[bytes] = []
    async with world.gateway() as gateway, world.reader(), world.writer():
        near = account_in(world, 0)
        payers = [account_in(world, each, before=near) for each in (0, 1)]
        payees = [near, account_in(world, 1, before=payers[1])]
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


async def test_more_accounts_than_fit_into_one_question(world: World) -> None:
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
            assert {each.terms.account_id for each in watcher.heard} == set(ids)
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


def opening(account_id: str) -> OpenAccount:
    return OpenAccount(account_id, "USD", 0)


def pay(account_id: str, prefix: str = "once") -> Transfer:
    return Transfer("bank", account_id, 1, "USD", f"{prefix}-{account_id}")
