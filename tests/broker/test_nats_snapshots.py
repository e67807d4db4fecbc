"""Snapshots over NATS whose chunks do not come: the server can't read them, or takes its time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.nats_broker import NatsBroker
from broker.nats_snapshots import NatsSnapshots
from broker.nats_streams import NO_MESSAGE
from broker.port import Following, NoResponse, SnapshotDamaged, StoredMessage
from contracts.subjects import SNAPSHOTS_STREAM
from tests.broker.implementations import DEADLINE_S, blocks_of, over_nats

BLOCKS = [bytes([number]) * 1_000 for number in range(5)]


async def made() -> AsyncIterator[bytes]:
    for block in BLOCKS:
        yield block


def damage(store: Path, chunk: bytes) -> None:
    """Flip a bit in the middle of it."""
    (block,) = store.rglob(f"streams/{SNAPSHOTS_STREAM}/msgs/*.blk")
    content = bytearray(block.read_bytes())
    content[content.index(chunk) + len(chunk) // 2] ^= 4
    block.write_bytes(content)


@pytest.mark.server
@pytest.mark.parametrize("number", [1, 3, 5])
async def test_a_chunk_that_the_server_can_not_read_is_noticed_without_waiting_for_it(
    tmp_path: Path, number: int
) -> None:
    """The server finds the flipped bit when it comes to the chunk, and counts it still."""
    async with over_nats(tmp_path) as connect, asyncio.timeout(DEADLINE_S):
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        await broker.provide_streams(1)
        await broker.put_snapshot(0, 5, made())
        await broker.close()
    damage(tmp_path, BLOCKS[number - 1])
    async with over_nats(tmp_path) as connect, asyncio.timeout(DEADLINE_S):
        broker = await connect()
        assert await broker.snapshots(0) == [5]
        with pytest.raises(SnapshotDamaged, match="only 4 of 5 chunks came, and the server can"):
            await blocks_of(broker, 0, 5)
        await broker.close()


class Slow:
    """A server with one snapshot that gives a chunk each so many seconds."""

    def __init__(
        self, every_s: float, *, new_leader_has: int | None = None, answers: bool = True
    ) -> None:
        self._every_s = every_s
        self._answers = answers
        self._new_leader_has = new_leader_has
        self._count = len(BLOCKS)
        self._given = 0
        self.asked_for = list[int]()

    async def api(
        self, verb: str, body: dict[str, Any] | None = None, *, timeout_s: float = 0
    ) -> dict[str, Any]:
        assert body is not None
        assert not timeout_s
        if verb.startswith("STREAM.INFO."):
            return {"state": {"subjects": {body["subjects_filter"]: self._count}}}
        if "last_by_subj" in body:
            data = {"name": "0/5", "bucket": "SNAPSHOTS", "nuid": "x", "chunks": len(BLOCKS)}
            data["size"] = sum(map(len, BLOCKS))
            return {"message": {"data": base64.b64encode(json.dumps(data).encode()).decode()}}
        self.asked_for.append(body["seq"])
        if not self._answers:
            raise NoResponse("not connected")
        if self._new_leader_has is None:
            return {"message": {}}
        self._count = self._new_leader_has
        return {"error": {"err_code": NO_MESSAGE}}

    async def follow(self, _stream: str, _subject: str) -> Following:
        return self

    @property
    def backlog(self) -> int:
        return 0

    async def __aiter__(self) -> AsyncIterator[list[StoredMessage]]:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        while self._given < len(BLOCKS):
            timer = loop.call_at((self._given + 1) * self._every_s, end.set)
            try:
                await end.wait()
            finally:
                timer.cancel()
            end.clear()
            self._given += 1
            yield [StoredMessage(self._given, self._given, "", BLOCKS[self._given - 1])]

    async def close(self) -> None:
        pass


async def refuse(*_: object, **__: object) -> bytes:
    raise AssertionError("reading stores nothing")


@pytest.mark.virtual_time
async def test_a_snapshot_whose_chunks_take_their_time_is_not_damaged() -> None:
    """As from a disk that is busy: the server can read them when it is asked."""
    slow = Slow(every_s=4.0)
    snapshots = NatsSnapshots(slow.api, refuse, slow.follow)
    assert [block async for block in snapshots.get(0, 5)] == BLOCKS
    assert slow.asked_for == [1, 2, 3, 4, 5]


@pytest.mark.virtual_time
async def test_a_snapshot_that_a_new_leader_does_not_have_yet_is_not_damaged() -> None:
    behind = Slow(every_s=4.0, new_leader_has=2)
    snapshots = NatsSnapshots(behind.api, refuse, behind.follow)
    assert [block async for block in snapshots.get(0, 5)] == BLOCKS


@pytest.mark.virtual_time
async def test_a_snapshot_is_read_on_behind_a_fault_of_the_connection() -> None:
    """Who can't be asked says nothing of the chunks."""
    away = Slow(every_s=4.0, answers=False)
    snapshots = NatsSnapshots(away.api, refuse, away.follow)
    assert [block async for block in snapshots.get(0, 5)] == BLOCKS


@pytest.mark.virtual_time
async def test_a_chunk_that_can_be_read_and_does_not_come_is_not_waited_for_for_ever() -> None:
    stuck = Slow(every_s=1e4)
    snapshots = NatsSnapshots(stuck.api, refuse, stuck.follow)
    with pytest.raises(SnapshotDamaged, match="only 0 of 5 chunks came"):
        await anext(snapshots.get(0, 5))
