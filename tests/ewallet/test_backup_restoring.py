"""Backups of journals on a server, and restores into servers: whole, once, into empty ones."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random

import pytest

from broker.memory_broker import MemoryBroker
from broker.nats_broker import NatsBroker
from broker.port import Broker, BrokerFault, BrokerUnfit, Disconnected, StreamState
from contracts.parties import COORDINATOR, parties
from contracts.partitioning import SlotMap
from contracts.subjects import journal_stream, journal_subject
from ewallet.backup.checking import check
from ewallet.backup.file import Backup, BackupWriter, End
from ewallet.backup.restoring import restore_into
from ewallet.backup.taking import take_backup
from runtime.process import Unfit
from tests.broker.implementations import Connect, in_memory, over_nats
from tests.ewallet.backup_world import (
    HEADER,
    PARTITIONS,
    Frames,
    backup_of,
    by_party,
    check_goes_on,
    history,
    restored,
)

SLOTS = SlotMap.even(PARTITIONS)


async def _store(broker: Broker, written: Frames) -> None:
    """Append to the journals what was written, and now and then a frame that does not count."""
    chance = Random(1)
    await broker.provide_streams(PARTITIONS)
    await broker.provide_slot_map(SLOTS)
    lengths = dict.fromkeys(parties(PARTITIONS), 0)
    for party, data in written:
        for each in (data, data) if chance.random() < 0.1 else (data,):
            subject, last = journal_subject(party), lengths[party]
            await (await broker.append(subject, each, expected_last_sequence=last))
            lengths[party] += 1


async def _taken(broker: Broker, path: Path) -> Backup:
    with path.open("wb") as file:
        end = await take_backup(broker, SLOTS, BackupWriter(file, HEADER))
    backup = Backup(path)
    check(backup)
    assert list(backup.frames())[-1] == end
    return backup


def _frames(backup: Backup) -> Frames:
    return [item for item in backup.frames() if not isinstance(item, End)]


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Connect]:
    async with in_memory(tmp_path) as connect:
        yield connect


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Callable[[], str]]:
    """An empty nats-server's address."""
    async with over_nats(tmp_path / "server") as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        url = broker._client.connected_url  # noqa: SLF001  # the tests know no other way
        await broker.close()
        assert url is not None
        yield url.geturl


async def test_a_backup_holds_all_that_counts_and_nothing_else(
    memory: Connect, tmp_path: Path
) -> None:
    world = history(7)
    broker = await memory()
    await _store(broker, world.written)
    backup = await _taken(broker, tmp_path / "a.backup")
    assert by_party(_frames(backup)) == by_party(world.written)


async def test_what_comes_while_a_backup_is_taken_is_in_it_as_far_as_its_causes_are(
    memory: Connect, tmp_path: Path
) -> None:
    world, half = history(8), 150
    reader, writer = await memory(), await memory()
    await _store(reader, world.written[:half])

    async def go_on() -> None:
        for party, data in world.written[half:]:
            state = await writer.stream_state(journal_stream(party))
            future = await writer.append(
                journal_subject(party), data, expected_last_sequence=state.last_sequence
            )
            await future

    going_on = asyncio.create_task(go_on())
    backup = await _taken(reader, tmp_path / "a.backup")
    await going_on
    kept, before = by_party(_frames(backup)), by_party(world.written[:half])
    for party in parties(PARTITIONS):
        assert kept[party][: len(before[party])] == before[party]
    check_goes_on(restored(kept), world.transfers)


async def test_journals_that_contradict_each_other_give_no_backup(
    memory: Connect, tmp_path: Path
) -> None:
    """The coordinator's journal lost its end: then what followed from it has no cause."""
    world = history(9)
    lost = [frame for frame in world.written if frame[0] == COORDINATOR][5:]
    broker = await memory()
    await _store(broker, [frame for frame in world.written if frame not in lost])
    with pytest.raises(Unfit, match="contradict each other"):
        await _taken(broker, tmp_path / "a.backup")


async def test_a_journal_that_gets_shorter_while_its_end_is_asked_for_is_never_backed_up(
    memory: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server that led it answers first, and then one whose copy was cut."""
    world = history(1)
    broker = await memory()
    assert isinstance(broker, MemoryBroker)
    await _store(broker, world.written)
    asked, stream_state = Counter[str](), broker.stream_state

    async def answered(stream: str) -> StreamState:
        asked[stream] += 1
        state = await stream_state(stream)
        if stream == journal_stream(PARTITIONS - 1) and asked[stream] == 1:
            broker._server.lose_tail(stream, 1)  # noqa: SLF001  # a fault of the server
        return state

    monkeypatch.setattr(broker, "stream_state", answered)
    with pytest.raises(Unfit, match=f"artition {PARTITIONS - 1} reached stream sequence"):
        await _taken(broker, tmp_path / "a.backup")


class _BreaksOff(NatsBroker):
    """A connection that ends in the middle of the work."""

    appends_left = 40

    async def append(
        self, subject: str, data: bytes, *, expected_last_sequence: int
    ) -> asyncio.Future[int]:
        self.appends_left -= 1
        if not self.appends_left:
            await self.close()
        return await super().append(subject, data, expected_last_sequence=expected_last_sequence)


@pytest.mark.server
async def test_a_restore_that_broke_off_keeps_writers_out_and_is_gone_on_with(
    server: Callable[[], str], memory: Connect, tmp_path: Path
) -> None:
    world = history(10)
    source = await memory()
    await _store(source, world.written)
    backup = await _taken(source, tmp_path / "a.backup")
    other = tmp_path / "b.backup"
    other.write_bytes(await backup_of(world.written[:100]))
    breaking = await _BreaksOff.connect(server(), name="test", role="test")
    with pytest.raises((Disconnected, BrokerFault)):
        await restore_into(breaking, backup, check(backup))
    broker = await NatsBroker.connect(server(), name="test", role="test")
    try:
        with pytest.raises(BrokerUnfit, match="being restored"):
            await broker.provide_slot_map(SLOTS)
        with pytest.raises(BrokerUnfit, match="being restored"):
            await broker.slot_map()
        with pytest.raises(Unfit, match="part of another backup"):
            await restore_into(broker, Backup(other), check(Backup(other)))
        await restore_into(broker, backup, check(backup))
        assert await broker.slot_map() == SLOTS
        again = await _taken(broker, tmp_path / "c.backup")
        assert by_party(_frames(again)) == by_party(world.written)
        with pytest.raises(BrokerUnfit, match="not empty"):
            await restore_into(broker, backup, check(backup))
    finally:
        await broker.close()


@pytest.mark.server
async def test_servers_that_hold_journals_are_left_as_they_are(
    server: Callable[[], str], tmp_path: Path
) -> None:
    world = history(11)
    broker = await NatsBroker.connect(server(), name="test", role="test")
    try:
        await broker.provide_streams(PARTITIONS)
        await (await broker.append(journal_subject(1), b"?", expected_last_sequence=0))
        path = tmp_path / "a.backup"
        path.write_bytes(await backup_of(world.written))
        with pytest.raises(Unfit, match="not empty: it holds the journal of Partition 1"):
            await restore_into(broker, Backup(path), check(Backup(path)))
        with pytest.raises(BrokerFault, match="no slot map yet"):
            await broker.slot_map()
    finally:
        await broker.close()
