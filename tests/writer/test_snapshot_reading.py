"""Reading a snapshot, with the thread that seals it beside."""

import asyncio
import threading
from collections.abc import AsyncIterator
from itertools import count

import pytest

from broker.memory_broker import MemoryServer
from contracts.partitioning import SlotMap
from writer.config import SNAPSHOT_RULE_DEFAULT
from writer.core.machine import Machine
from writer.core.partition import Partition
from writer.core.snapshot import Seal
from writer.service.snapshots import OneAtATime, Snapshots


async def blocks() -> AsyncIterator[bytes]:
    for block in (b"one", b"two", b"three"):
        yield block


async def test_who_stops_in_the_middle_of_a_snapshot_does_not_wait_for_its_seal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All parties of the process would stand still for as long, and it would lose their leases."""
    times = count(1)
    broker = MemoryServer(lambda: next(times)).connect()
    await broker.put_snapshot(0, 1, blocks())
    loop, is_sealing = asyncio.get_running_loop(), asyncio.Event()
    is_over, waited_in_vain = threading.Event(), list[bool]()

    def slow(_seal: Seal, _block: bytes) -> None:
        loop.call_soon_threadsafe(is_sealing.set)
        waited_in_vain.append(not is_over.wait(1.0))

    monkeypatch.setattr(Seal, "add", slow)
    snapshots: Snapshots[Partition] = Snapshots(broker, 0, SNAPSHOT_RULE_DEFAULT, OneAtATime())
    restoring = asyncio.create_task(
        snapshots.restore(lambda: Machine(0, Partition(0, SlotMap.even(1))))
    )
    await is_sealing.wait()
    restoring.cancel()
    await asyncio.gather(restoring, return_exceptions=True)
    assert not waited_in_vain
    is_over.set()
