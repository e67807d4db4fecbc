"""What the gateway asks all processes for, for who wants to know how the wallet is."""

import asyncio

import pytest

from contracts.status import WriterStatus, encode_status
from contracts.subjects import status_subject
from tests.proxy.world import World, turns

pytestmark = pytest.mark.virtual_time


async def test_everybody_who_comes_while_the_status_is_asked_for_shares_the_answer(
    world: World,
) -> None:
    asked, may_answer = 0, asyncio.Event()

    async def answer(_: bytes) -> bytes:
        nonlocal asked
        asked += 1
        await may_answer.wait()
        return encode_status(WriterStatus(id=f"w{asked}", partitions=[], coordinators=[]))

    async with world.gateway() as gateway:
        await world.server.connect().serve(status_subject("writer"), answer)
        questions = [asyncio.create_task(gateway.status()) for _ in range(5)]
        await turns()
        questions.pop(0).cancel()
        may_answer.set()
        shared = await asyncio.gather(*questions)
        assert asked == 1
        assert all(status is shared[0] for status in shared)
        later = await gateway.status()
    assert [writer.id for writer in shared[0].writers] == ["w1"]
    assert [writer.id for writer in later.writers] == ["w2"]
