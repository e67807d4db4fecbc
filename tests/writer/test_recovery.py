"""A writer recovers from its newest good snapshot and the journal's tail, and never wrongly."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from broker.port import BrokerFault
from contracts.chain import Chained
from contracts.commands import OpenAccount
from contracts.events import AccountOpened, EpochOpened, TransferCompleted, TransferRepeated
from contracts.subjects import journal_stream, journal_subject
from runtime.process import Unfit
from simulation.states import state_of
from tests.writer.one_party import DEADLINE_S, OPENINGS, World, transfer
from writer.config import SnapshotRule
from writer.core.machine import Machine
from writer.core.partition import Partition

pytestmark = pytest.mark.virtual_time

NEVER = SnapshotRule(events=10**9, frames=10**9, seconds=10**6)
EACH_EVENT = SnapshotRule(events=1, frames=10**9, seconds=10**6)
EACH_FIVE = SnapshotRule(events=5, frames=10**9, seconds=10**6)

JOURNAL = journal_stream(0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def snapshot_at(world: World, sequence: int) -> None:
    """Return once the running writer has written a snapshot at a sequence or later."""
    assert world.party is not None
    async with asyncio.timeout(DEADLINE_S):
        snapshots = world.party.snapshots
        while (written := snapshots.written) is None or written.sequence < sequence:  # noqa: ASYNC110  # nobody else needs to be told
            await asyncio.sleep(0.001)


async def worked(world: World, transfers: int, rule: SnapshotRule = EACH_EVENT) -> None:
    """A writer's whole life: openings, transfers one by one, each with its snapshot."""
    async with world.writer(rule=rule):
        await world.send(*OPENINGS)
        for number in range(transfers):
            await world.send(transfer(f"t{number}"))
            await world.until(TransferCompleted, number + 1)
            await snapshot_at(world, len(world.events()))


def stored(world: World) -> list[int]:
    return world.server.snapshots.sequences(0)


def replayed(world: World) -> Machine[Partition]:
    machine = Machine(0, Partition(0, world.slots))
    for message in world.server.streams[JOURNAL].messages:
        machine.replay(message.data)
    return machine


def live(world: World) -> Machine[Partition]:
    return world.reign.machine


class Taken:
    """Counts the frames that recovering writers take from the journal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sequences: list[int] = []
        replay = Machine.replay

        def noted(machine: Machine[Partition], data: bytes) -> object:
            link = replay(machine, data)
            if isinstance(link, Chained):
                self.sequences.append(link.tip.sequence)
            return link

        monkeypatch.setattr(Machine, "replay", noted)


# --- recovery ---


async def test_recovery_from_snapshot_and_tail_equals_a_full_replay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worked(world, 3)
    newest = stored(world)[0]
    async with world.writer("second", rule=NEVER):
        await world.send(transfer("t10"), transfer("t1"), OpenAccount("c", "USD", 5))
        await world.until(AccountOpened, 3)
    taken = Taken(monkeypatch)
    async with world.writer("third", rule=NEVER):
        assert min(taken.sequences) > newest, "nothing before the snapshot was read"
        expected = replayed(world)
        assert state_of(live(world)) == state_of(expected)
        await world.send(transfer("t2"), transfer("t10"))
        await world.until(TransferRepeated, 3)


async def test_a_snapshot_of_the_very_end_needs_no_tail(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worked(world, 2)
    assert stored(world)[0] == len(world.events())
    taken = Taken(monkeypatch)
    async with world.writer("second", rule=NEVER):
        assert not taken.sequences
        assert state_of(live(world)) == state_of(replayed(world))


async def test_what_does_not_count_behind_a_snapshot_is_skipped(world: World) -> None:
    await worked(world, 2)
    old = world.server.streams[JOURNAL].messages[1].data
    await world.client.publish(journal_subject(0), b"no frame at all")
    await world.client.publish(journal_subject(0), old)
    async with world.writer("second", rule=NEVER):
        assert state_of(live(world)) == state_of(replayed(world))


def flipped(blocks: list[bytes]) -> list[bytes]:
    at = len(blocks) // 2
    changed = bytearray(blocks[at])
    changed[len(changed) // 2] ^= 1
    return [*blocks[:at], bytes(changed), *blocks[at + 1 :]]


DAMAGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "flipped": flipped,
    "cut": lambda blocks: blocks[:-1],
    "emptied": lambda _: [],
    "exchanged": lambda blocks: [b"x" * len(block) for block in blocks],
    "of another version": lambda blocks: [b"ewallet snapshot \x63", *blocks[1:]],
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_newest_then_an_older_then_none_is_used(
    world: World,
    damage: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await worked(world, 3)
    newest, older = stored(world)
    world.server.snapshots.damage(0, newest, DAMAGES[damage])
    taken = Taken(monkeypatch)
    async with world.writer("second", rule=NEVER):
        assert f"snapshot at sequence {newest} is not used" in caplog.text
        assert min(taken.sequences) == older + 1
    world.server.snapshots.damage(0, older, DAMAGES[damage])
    caplog.clear()
    taken.sequences.clear()
    async with world.writer("third", rule=NEVER):
        assert f"snapshot at sequence {newest} is not used" in caplog.text
        assert f"snapshot at sequence {older} is not used" in caplog.text
        assert min(taken.sequences) == 1
        assert state_of(live(world)) == state_of(replayed(world))


async def test_a_snapshot_of_another_sequence_or_party_is_not_used(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """As it would be if objects changed their names."""
    await worked(world, 3)
    newest, older = stored(world)
    kept = world.server.snapshots.get(0, older)
    world.server.snapshots.damage(0, newest, lambda _: kept)
    number, _ = world.server.snapshots.named[0, newest]
    world.server.snapshots.named[0, newest] = (number, len(kept))
    async with world.writer("second", rule=NEVER):
        assert f"it is of sequence {older}" in caplog.text
        assert state_of(live(world)) == state_of(replayed(world))


# --- what was durable must still be there ---


async def test_a_journal_that_ends_before_a_snapshot_is_refused(world: World) -> None:
    """Another writer than the one that has the witness file notices it too."""
    await worked(world, 3)
    newest = stored(world)[0]
    world.server.lose_tail(JOURNAL, 1)
    before = len(world.server.streams[JOURNAL].messages)
    async with world.writer("other") as run:
        with pytest.raises(Unfit, match=f"but sequence {newest} was durable"):
            await run
    assert len(world.server.streams[JOURNAL].messages) == before


async def test_a_journal_of_another_history_than_a_snapshot_is_refused(world: World) -> None:
    await worked(world, 3)
    snapshots, world.server.snapshots = world.server.snapshots, type(world.server.snapshots)()
    world.server.lose_tail(JOURNAL, 2)
    async with world.writer("other", rule=NEVER):
        await world.send(transfer("t10"))
        await world.send(transfer("t11"))
        await world.until(TransferCompleted, 3)
    world.server.snapshots = snapshots
    async with world.writer("third") as run:
        with pytest.raises(Unfit, match="another history"):
            await run


async def test_a_journal_of_another_history_than_a_witness_before_the_snapshot_is_refused(
    world: World,
) -> None:
    async with world.writer("witness", rule=NEVER):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
    world.server.lose_tail(JOURNAL, 1)
    await worked(world, 3)
    async with world.writer("witness") as run:
        with pytest.raises(Unfit, match="another history"):
            await run


async def test_a_witness_before_the_snapshot_of_the_same_history_is_no_obstacle(
    world: World,
) -> None:
    async with world.writer("witness", rule=NEVER):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
    async with world.writer("other", rule=EACH_EVENT):
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)
        await snapshot_at(world, len(world.events()))
    async with world.writer("witness"):
        assert state_of(live(world)) == state_of(replayed(world))


# --- when they are written ---


async def test_two_snapshots_are_kept(world: World) -> None:
    await worked(world, 5)
    sequences = len(world.events())
    assert stored(world) == [sequences, sequences - 1]
    assert len(world.server.snapshots.blocks) == 2, "and no block of any other"


async def test_snapshots_are_due_by_the_count_of_events(world: World) -> None:
    async with world.writer(rule=EACH_FIVE):
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(TransferCompleted, 1)
        await world.send(transfer("t2"))
        await snapshot_at(world, 5)
    assert stored(world) == [5]


async def test_snapshots_are_due_by_the_count_of_frames(world: World) -> None:
    """Of the epoch, the openings and each transfer, also after a restart."""
    rule = SnapshotRule(events=10**9, frames=4, seconds=10**6)
    async with world.writer(rule=rule):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)
        assert stored(world) == []
        await world.send(transfer("t2"))
        await snapshot_at(world, 5)
    async with world.writer("second", rule=rule):
        for number in range(3, 6):
            assert stored(world) == [5]
            await world.send(transfer(f"t{number}"))
            await world.until(TransferCompleted, number)
        await snapshot_at(world, 9)
    assert stored(world) == [9, 5]


async def test_snapshots_are_due_by_time_when_nothing_comes_any_more(world: World) -> None:
    async with world.writer(rule=SnapshotRule(events=10**9, frames=10**9, seconds=1)):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        await snapshot_at(world, 3)
    assert stored(world) == [3]


async def test_without_anything_new_there_is_no_new_snapshot(world: World) -> None:
    await worked(world, 1)
    assert world.party is not None
    async with world.writer("second", rule=EACH_EVENT):
        await snapshot_at(world, len(world.events()))
        written = world.party.snapshots.written
        machine = live(world)
        world.party.snapshots.take_if_due(machine, 1)
        assert world.party.snapshots.written is written


async def test_a_party_at_rest_is_looked_at_as_often_as_time_makes_a_snapshot_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, times, looks = 60, 10, count()
    async with world.writer(rule=SnapshotRule(events=1, frames=10**9, seconds=seconds)):
        await snapshot_at(world, 1)
        assert world.party is not None
        snapshots = world.party.snapshots
        take_if_due = snapshots.take_if_due

        def counted(machine: Machine[Partition], stream_sequence: int) -> None:
            next(looks)
            take_if_due(machine, stream_sequence)

        monkeypatch.setattr(snapshots, "take_if_due", counted)
        await asyncio.sleep(seconds * (times + 0.5))
    assert next(looks) == times
    assert stored(world) == [1]


async def test_a_snapshot_is_taken_only_of_what_is_durable(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is in the bucket, its frame is in the journal, at its place."""
    durable: list[bool] = []
    put = world.server.snapshots.name

    def noted(number: int, block_count: int) -> None:
        put(number, block_count)
        sequence = stored(world)[0]
        durable.append(len(world.events()) >= sequence)

    monkeypatch.setattr(world.server.snapshots, "name", noted)
    await worked(world, 5)
    assert durable
    assert all(durable)


async def test_a_damaged_snapshot_is_not_one_of_those_kept(world: World) -> None:
    """Pruning must leave two good ones, not two."""
    await worked(world, 3)
    newest, older = stored(world)
    world.server.snapshots.damage(0, newest, flipped)
    async with world.writer("second", rule=EACH_EVENT):
        await world.send(transfer("t10"))
        await world.until(TransferCompleted, 4)
        await snapshot_at(world, newest + 2)
    assert newest not in stored(world)
    for sequence in stored(world):
        world.server.snapshots.get(0, sequence)
    assert len(stored(world)) == 2
    assert stored(world)[-1] >= older


async def test_a_bucket_that_takes_nothing_does_not_stop_the_writer(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server has no room for it."""

    def full(number: int, block: bytes) -> None:
        raise BrokerFault(f"put {number}: no room for {len(block)} bytes")

    monkeypatch.setattr(world.server.snapshots, "add", full)
    async with world.writer(rule=EACH_EVENT):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)
    assert "not written" in caplog.text
    assert stored(world) == []
    assert sum(isinstance(event, EpochOpened) for event in world.events()) == 1


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield
