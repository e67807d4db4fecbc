"""Several whole writers on one broker in memory: who leads, and what happens when one goes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from broker.memory_broker import MemoryBroker, MemoryServer
from broker.port import AppendRefused, NoResponse
from contracts.commands import OpenAccount
from contracts.frames import COMMAND_FRAME, CommandFrame
from contracts.parties import parties
from contracts.partitioning import SlotMap
from contracts.subjects import (
    LEASES_STREAM,
    command_subject,
    journal_subject,
    leader_subject,
    lease_subject,
)
from runtime.settings import ServiceSettings
from writer.bootstrap import Writers, make_writers
from writer.config import SNAPSHOT_RULE_DEFAULT, SnapshotRule
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.service.leading import Mandate
from writer.service.snapshots import SNAPSHOTS_KEPT

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
        self.client = self.server.connect()
        self.snapshot_rule = SNAPSHOT_RULE_DEFAULT
        self._slots = SlotMap.even(PARTITIONS)
        self._names = count(1)
        self._folder = folder
        self._chance = Random(7)

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator[Writers]:
        """A writer of all parties."""
        connection = self.connections[name] = self.server.connect()
        await connection.provide_streams(PARTITIONS)
        slots = await connection.provide_slot_map(self._slots)
        settings = ServiceSettings("", "", PARTITIONS, self._folder / name)
        with ExitStack() as stack:
            writers = make_writers(
                connection,
                settings,
                slots,
                name,
                stack,
                led=ALL,
                snapshot_rule=self.snapshot_rule,
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

    async def open_account(self, partition: int) -> None:
        """Send a command that the partition's journal gets an event of."""
        numbered = ((number, f"account-{number}") for number in self._names)
        here = (each for each in numbered if self._slots.partition_of(each[1]) == partition)
        number, account_id = next(here)
        frame = CommandFrame("proxy", number, [OpenAccount(account_id, "USD", 0)])
        await self.client.publish(command_subject(partition), COMMAND_FRAME.encode(frame))

    def epochs(self) -> dict[int, int]:
        """Of the newest reign of each party that reigns."""
        return {
            writer.party: writer.epoch
            for writers in self.running.values()
            for writer in writers.all
            if writer.reigning.is_set()
        }

    def records(self) -> dict[str, bytes]:
        """The last value of each key of the bucket."""
        stored = self.server.streams[LEASES_STREAM].messages
        return {message.subject: message.data for message in stored}

    def named(self, name: str) -> int:
        """How often a writer was named as leader."""
        leases = self.server.streams[LEASES_STREAM].messages
        return sum(message.data == name.encode() for message in leases)

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
        records = wallet.records()
        assert all(records[leader_subject(party)] == b"b" for party in ALL)
        assert records[lease_subject("a")] == b"", "nobody waits for its end"
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))
        assert "a" not in staying.leading.leases.living


async def test_a_dead_writers_parties_are_taken_over(wallet: Wallet) -> None:
    async with wallet.writer("a"), wallet.writer("b"):
        await wallet.until_even()
        wallet.connections["a"].die()
        wallet.running.pop("a")
        await wallet.until(lambda: wallet.load()["b"] == len(ALL))


async def test_nothing_is_handed_to_a_writer_that_died_before_another_came(wallet: Wallet) -> None:
    async with wallet.writer("b"):
        async with wallet.writer("a"):
            await wallet.until_even()
            wallet.connections["a"].die()
            wallet.running.pop("a")
            await wallet.until(lambda: wallet.load()["b"] == len(ALL))
        before = wallet.named("a")
        async with wallet.writer("c"):
            await wallet.until_even()
            assert wallet.named("a") == before


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


async def test_while_no_leases_are_heard_everybody_goes_on_with_what_it_leads(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the servers of the bucket choose a leader; the journals may have theirs."""

    async def refused(*_arguments: object, **_options: object) -> int:
        raise NoResponse("no responders")

    async with wallet.writer("a") as a, wallet.writer("b") as b:
        await wallet.until_even()
        epochs = wallet.epochs()
        with monkeypatch.context() as silence:
            for connection in wallet.connections.values():
                silence.setattr(connection, "put", refused)
            await wallet.until(lambda: not a.leading.leases.can_judge)
            await wallet.until(lambda: not b.leading.leases.can_judge)
        await wallet.until(lambda: a.leading.leases.can_judge and b.leading.leases.can_judge)
        await wallet.until_even()
        assert wallet.epochs() == epochs


async def test_who_stands_by_takes_over_while_a_leader_recovers(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = asyncio.Event()
    async with wallet.writer("a") as a, wallet.writer("b") as b:
        await wallet.until_even()
        await wallet.until(lambda: len(b.leading.ready_parties) == len(ALL) - wallet.load()["b"])
        led = next(writer for writer in a.partitions if writer.reigning.is_set())
        (standby,) = (writer for writer in b.all if writer.party == led.party)
        restore = led.snapshots.restore

        async def slow(fresh: Callable[[], Any]) -> Any:
            await is_over.wait()
            return await restore(fresh)

        monkeypatch.setattr(led.snapshots, "restore", slow)
        wallet.server.publish(journal_subject(led.party), b"no frame at all")
        await wallet.open_account(led.party)
        await wallet.until(standby.reigning.is_set)
        assert not led.reigning.is_set()
        is_over.set()
        await wallet.until_even()


async def test_who_takes_over_keeps_the_snapshots_that_were_written_meanwhile(
    wallet: Wallet,
) -> None:
    wallet.snapshot_rule = SnapshotRule(events=1, seconds=60)
    async with wallet.writer("a"):
        await wallet.until_even()
        async with wallet.writer("b") as b:
            await wallet.until_even()
            await wallet.until(
                lambda: len(b.leading.ready_parties) == len(ALL) - wallet.load()["b"]
            )
            standby = next(each for each in b.partitions if not each.reigning.is_set())
            party = standby.party
            while len(wallet.server.snapshots.sequences(party)) < SNAPSHOTS_KEPT:
                await wallet.open_account(party)
                await asyncio.sleep(0.01)
            wallet.connections["a"].die()
            wallet.running.pop("a")
            kept = list[list[int]]()
            while not standby.reigning.is_set() or standby.snapshots.written is None:
                kept.append(wallet.server.snapshots.sequences(party))
                await asyncio.sleep(0)
            assert all(len(sequences) >= SNAPSHOTS_KEPT for sequences in kept)


async def test_a_server_that_refuses_every_claim_keeps_no_party_without_a_leader(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leadership is for liveness only, so it must not hang on a compare-and-set."""
    async with wallet.writer("a"):
        await wallet.until(lambda: wallet.load()["a"] == len(ALL))
        connection = wallet.connections["a"]
        put = connection.put

        async def refusing(
            subject: str, data: bytes, *, expected_revision: int | None = None, lasts_s: int | None
        ) -> int:
            if expected_revision is not None:
                raise AppendRefused("wrong last sequence")
            return await put(subject, data, lasts_s=lasts_s)

        monkeypatch.setattr(connection, "put", refusing)
        async with wallet.writer("b"):
            await wallet.until_even()
