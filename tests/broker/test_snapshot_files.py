"""The files of snapshots before a start: what would keep a server from starting is found."""

import asyncio
import shutil
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.nats_broker import NatsBroker
from broker.snapshot_files import damaged_snapshots
from broker.store_files import stream_folders
from contracts.subjects import SNAPSHOTS_STREAM
from tests.broker.implementations import over_nats

pytestmark = pytest.mark.server

SEQUENCES = range(1, 7)


async def blocks(sequence: int) -> AsyncIterator[bytes]:
    for number in range(5):
        yield b"%d %d " % (sequence, number) * 20


async def write(store: Path) -> None:
    """Snapshots and their pruning, as a writer leaves them."""
    async with over_nats(store) as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        await broker.provide_streams(1)
        for sequence in SEQUENCES:
            await broker.put_snapshot(0, sequence, blocks(sequence))
            await broker.prune_snapshots(0, below=sequence, kept=[sequence - 1])
        await broker.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("snapshots") / "store"
    asyncio.run(write(store))
    return store


@pytest.fixture
def block(store: Path, tmp_path: Path) -> Path:
    """The one block, in a copy of the store, without what the server knows of it."""
    copy = tmp_path / "store"
    shutil.copytree(store, copy)
    (folder,) = stream_folders(copy, SNAPSHOTS_STREAM)
    (folder / "msgs" / "index.db").unlink(missing_ok=True)
    (path,) = folder.glob("msgs/*.blk")
    return path


def records(content: bytes) -> list[int]:
    """Where records begin."""
    starts, at = [], 0
    while at < len(content):
        starts.append(at)
        at += struct.unpack_from("<I", content, at)[0] & 0x7FFFFFFF
    return starts


def findings(block: Path) -> list[str]:
    return [seen for _, seen in damaged_snapshots(block.parents[5])]


def test_sound_files_are_left_alone(block: Path) -> None:
    assert len(records(block.read_bytes())) > 30
    assert findings(block) == []


def test_no_files_are_no_damage(tmp_path: Path) -> None:
    assert list(damaged_snapshots(tmp_path)) == []


def test_a_flipped_bit_of_any_stored_sequence_is_found(block: Path) -> None:
    content = block.read_bytes()
    for start in records(content):
        for bit in (0, 5, 20, 40, 50, 61, 62, 63):
            changed = bytearray(content)
            changed[start + 4 + bit // 8] ^= 1 << bit % 8
            block.write_bytes(changed)
            assert findings(block), (start, bit)


def test_a_torn_tail_is_for_the_server_to_cut(block: Path) -> None:
    content = block.read_bytes()
    for missing in (1, 10, 25):
        block.write_bytes(content[:-missing])
        assert findings(block) == []


def test_damaged_settings_are_found(block: Path) -> None:
    meta = block.parents[1] / "meta.inf"
    meta.write_bytes(meta.read_bytes().replace(b"OBJ_SNAPSHOTS", b"OBJ_SNAPSHOTT"))
    assert findings(block)
