"""Several whole writers on one broker in memory: who leads, and what happens when one goes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random

import pytest

from broker.memory_broker import MemoryBroker, MemoryServer
from broker.port import AppendRefused
from contracts.parties import parties
from contracts.partitioning import SlotMap
from runtime.settings import ServiceSettings
from writer.bootstrap import Writers, make_writers
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.service.leading import Mandate

DEADLINE_S = 10.0
PARTITIONS = 3
ALL = parties(PARTITIONS)


class Wallet:
    """The writers that run, by name."""

    def __init__(self, folder: Path) -> None:
        times = count(1_700_000_000_000_000_000)
        self.server = MemoryServer(lambda: next(times))
        self.running: dict[str, Writers] = {}
        self.connections: dict[str, MemoryBroker] = {}
        self._folder = folder
        self._chance = Random(7)

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator[Writers]:
        """A writer of all parties."""
        connection = self.connections[name] = self.server.connect()
        await connection.provide_streams(PARTITIONS)
        slots = await connection.provide_slot_map(SlotMap.even(PARTITIONS))
        settings = ServiceSettings("", "", PARTITIONS, self._folder / name)
        with ExitStack() as stack:
            writers = make_writers(
                connection,
                settings,
                slots,
                name,
                stack,
                led=ALL,
                fresh_key=lambda: self._chance.randbytes(FINGERPRINT_KEY_BYTES),
            )
            tasks = [asyncio.create_task(work) for work in writers.works()]
            self.running[name] = writers
            try:
                yield writers
            finally:
                self.running.pop(name, None)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def load(self) -> Counter[str]:
        """How many parties each writer leads."""
        led = Counter(dict.fromkeys(self.running, 0))
        for name, writers in self.running.items():
            led[name] += sum(writer.reigning.is_set() for writer in writers.all)
        return led

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():  # noqa: ASYNC110  # several processes' states
                await asyncio.sleep(0.005)

    async def until_even(self) -> None:
        """Return when every party is led once, and the loads differ by one at most."""

        def is_even() -> bool:
            load = self.load().values()
            return sum(load) == len(ALL) and max(load) - min(load) <= 1

        await self.until(is_even)


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return Wallet(tmp_path)


def test_a_mandate_that_is_withdrawn_before_its_use_keeps_nobody_waiting() -> None:
    mandate = Mandate(lambda: None)
    mandate.grant()
    mandate.withdraw()
    assert not mandate.use()
    assert not mandate.is_used


async def test_a_writer_alone_leads_everything(wallet: Wallet) -> None:
    async with wallet.writer("a"):
        await wallet.until_even()


async def test_writers_that_come_and_go_share_evenly(wallet: Wallet) -> None:
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b"):
            await wallet.until_even()
            async with wallet.writer("c"), wallet.writer("d"):
                await wallet.until_even()
            await wallet.until_even()
        await wallet.until_even()


async def test_who_leaves_hands_over_without_waiting_for_its_lease(wallet: Wallet) -> None:
    async with wallet.writer("a") as leaving, wallet.writer("b") as staying:
        await wallet.until_even()
        await leaving.leading.leave()
        assert not any(writer.reigning.is_set() for writer in leaving.all)
        ends_ms = staying.leading.leases.next_end_ms
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))
        assert "a" not in staying.leading.leases.living
        assert ends_ms is not None


async def test_a_dead_writers_parties_are_taken_over(wallet: Wallet) -> None:
    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        wallet.connections["a"].die()
        wallet.running.pop("a")
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))


async def test_a_writer_that_was_split_off_comes_back_as_one_of_two(wallet: Wallet) -> None:
    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        wallet.connections["a"].cut()
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))
        wallet.connections["a"].mend()
        await wallet.until(lambda: wallet.load()["a"] > 0)
        await wallet.until_even()


async def test_leases_that_were_lost_with_their_server_are_made_again(wallet: Wallet) -> None:
    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        for connection in wallet.connections.values():
            connection.cut()
        wallet.server.lose_stream("KV_LEASES")
        for connection in wallet.connections.values():
            connection.mend()
        await wallet.until_even()
        async with wallet.writer("c"):
            await wallet.until_even()


async def test_a_server_that_refuses_every_claim_keeps_no_party_without_a_leader(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leadership is for liveness only, so it must not hang on a compare-and-set."""
    async with wallet.writer("a"):
        await wallet.until(lambda: wallet.load()["a"] == len(ALL))
        connection = wallet.connections["a"]
        put = connection.put

        async def refusing(
            subject: str, data: bytes, *, expected_revision: int | None = None
        ) -> int:
            if expected_revision is not None:
                raise AppendRefused("wrong last sequence")
            return await put(subject, data)

        monkeypatch.setattr(connection, "put", refusing)
        async with wallet.writer("b"):
            await wallet.until_even()
