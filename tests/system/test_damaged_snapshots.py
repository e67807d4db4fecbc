"""A bit flips in the stored snapshots of a stopped wallet: it starts all the same."""

import struct

import pytest

from contracts.events import TransferCompleted, TransferRepeated
from tests.system.embedded_stack import Stack
from tests.system.test_damage import some_transfers

pytestmark = [pytest.mark.server, pytest.mark.faults]

COUNT = 30


def flip(stack: Stack, at: int) -> None:
    """Flip a bit of the last record but ten."""
    (block,) = (stack.data / "nats").rglob("streams/OBJ_SNAPSHOTS/msgs/*.blk")
    content = bytearray(block.read_bytes())
    starts, start = [], 0
    while start < len(content):
        starts.append(start)
        start += struct.unpack_from("<I", content, start)[0] & 0x7FFFFFFF
    content[starts[-10] + at] ^= 4
    block.write_bytes(content)


@pytest.mark.parametrize(("part", "at"), [("sequence", 10), ("subject", 30), ("length", 1)])
async def test_a_flipped_bit_in_the_snapshots_stops_nobody(
    stack: Stack, part: str, at: int
) -> None:
    stack.configure(EWALLET_SNAPSHOT_EVENTS="5").start()
    await some_transfers(stack.url, COUNT)
    stack.stop()
    flip(stack, at)
    stack.start()
    await some_transfers(stack.url, COUNT)
    stack.stop()
    events = stack.events()
    assert sum(isinstance(event, TransferCompleted) for event in events) == COUNT
    assert sum(isinstance(event, TransferRepeated) for event in events) == COUNT
    if part == "sequence":
        assert "put aside" in stack.errors()
        assert (stack.data / "damaged-snapshots").is_dir()
