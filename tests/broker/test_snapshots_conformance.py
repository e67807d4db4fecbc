"""What the broker port promises about snapshots, asked of every implementation."""

from collections.abc import AsyncIterator, Sequence

import pytest

from broker.port import SnapshotDamaged
from contracts.limits import FRAME_BYTES_MAX
from contracts.parties import COORDINATOR
from tests.broker.implementations import Connect, blocks_of

BLOCKS = [b"head", b"", bytes(range(256)), b"seal"]


class Stopped(Exception):
    """Whoever makes the blocks has ended."""


async def made(blocks: Sequence[bytes], *, stops: bool = False) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block
    if stops:
        raise Stopped


async def test_a_snapshot_comes_back_block_by_block(connect: Connect) -> None:
    broker = await connect()
    await broker.put_snapshot(0, 17, made(BLOCKS))
    other = await connect()
    assert await other.snapshots(0) == [17]
    assert await blocks_of(other, 0, 17) == BLOCKS


async def test_the_largest_blocks_come_back_in_their_order(connect: Connect) -> None:
    """More bytes than are buffered at a time."""
    blocks = [bytes([number]) * (FRAME_BYTES_MAX - number) for number in range(40)]
    broker = await connect()
    await broker.put_snapshot(0, 1, made(blocks))
    assert await blocks_of(broker, 0, 1) == blocks


async def test_each_party_has_its_own_and_the_newest_comes_first(connect: Connect) -> None:
    broker = await connect()
    for party in (0, 1, 10, COORDINATOR):
        for sequence in (9, 100, 20):
            await broker.put_snapshot(party, sequence, made([b"%d %d" % (party, sequence)]))
    for party in (0, 1, 10, COORDINATOR):
        assert await broker.snapshots(party) == [100, 20, 9]
        assert await blocks_of(broker, party, 20) == [b"%d 20" % party]
    assert await broker.snapshots(2) == []


async def test_one_that_is_put_again_is_replaced(connect: Connect) -> None:
    broker = await connect()
    await broker.put_snapshot(0, 5, made(BLOCKS))
    await broker.put_snapshot(0, 5, made([b"other"]))
    assert await broker.snapshots(0) == [5]
    assert await blocks_of(broker, 0, 5) == [b"other"]
    await broker.prune_snapshots(0, below=6, kept=[5])
    assert await blocks_of(broker, 0, 5) == [b"other"]


async def test_one_that_was_not_finished_is_never_seen(connect: Connect) -> None:
    broker = await connect()
    with pytest.raises(Stopped):
        await broker.put_snapshot(0, 5, made(BLOCKS, stops=True))
    assert await broker.snapshots(0) == []


async def test_one_that_is_not_there_is_a_damaged_one(connect: Connect) -> None:
    broker = await connect()
    with pytest.raises(SnapshotDamaged):
        await blocks_of(broker, 0, 5)


async def test_pruning_deletes_what_is_below_and_not_kept(connect: Connect) -> None:
    broker = await connect()
    for party in (0, 1):
        for sequence in (1, 2, 3, 4, 5):
            await broker.put_snapshot(party, sequence, made([b"%d" % sequence]))
    await broker.prune_snapshots(0, below=4, kept=[2])
    assert await broker.snapshots(0) == [5, 4, 2]
    assert await broker.snapshots(1) == [5, 4, 3, 2, 1]
    for sequence in (5, 4, 2):
        assert await blocks_of(broker, 0, sequence) == [b"%d" % sequence]
    with pytest.raises(SnapshotDamaged):
        await blocks_of(broker, 0, 3)


async def test_pruning_leaves_one_alone_that_is_being_put_at_or_above(connect: Connect) -> None:
    """Whoever prunes may be deposed, and the one who puts the writer that reigns."""
    deposed, reigning = await connect(), await connect()

    async def pruned_meanwhile() -> AsyncIterator[bytes]:
        yield b"one"
        await deposed.prune_snapshots(0, below=7, kept=())
        yield b"two"

    await reigning.put_snapshot(0, 7, pruned_meanwhile())
    assert await blocks_of(reigning, 0, 7) == [b"one", b"two"]


async def test_one_whose_blocks_are_pruned_while_it_is_put_is_damaged(connect: Connect) -> None:
    """So it may be listed, but nobody ever gets a part of it."""
    deposed, reigning = await connect(), await connect()

    async def pruned_meanwhile() -> AsyncIterator[bytes]:
        yield b"one"
        await reigning.prune_snapshots(0, below=8, kept=())
        yield b"two"

    await deposed.put_snapshot(0, 7, pruned_meanwhile())
    with pytest.raises(SnapshotDamaged):
        await blocks_of(reigning, 0, 7)
    await reigning.prune_snapshots(0, below=8, kept=())
    assert await reigning.snapshots(0) == []
