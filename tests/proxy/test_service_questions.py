"""Questions that the gateway asks of readers and writers, which may be away."""

import asyncio

import pytest

from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    NotFound,
    TransferAnswer,
    TransferQuery,
)
from contracts.status import WriterStatus, encode_status
from contracts.subjects import (
    READER_QUEUE,
    query_subject,
    status_subject,
)
from proxy.ports import NoAnswer
from tests.proxy.world import (
    WAIT_MS,
    World,
    opening,
    submit,
    transfer,
    turns,
)

pytestmark = pytest.mark.virtual_time


async def test_a_question_waits_for_a_reader_that_is_started_again(world: World) -> None:
    async with world.gateway() as gateway, world.writer():
        asked = asyncio.create_task(gateway.ask(AccountQuery("a")))
        await turns()
        async with world.reader():
            await submit(gateway, opening("a"))
            answer = await asked
            assert isinstance(answer, NotFound | AccountAnswer)
            assert isinstance(await gateway.ask(AccountQuery("a")), AccountAnswer)


async def test_a_question_that_nobody_answers_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.gateway._READER_ABSENCE_MS", 200)
    async with world.gateway() as gateway:
        with pytest.raises(NoAnswer):
            await gateway.ask(AccountQuery("a"))


async def test_a_question_that_was_lost_with_its_reader_is_asked_again_beside_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the time is up that a reader may think it over."""
    monkeypatch.setattr("proxy.service.gateway._OVERDUE_S", 0.05)
    monkeypatch.setattr("proxy.service.gateway._QUERY_SLICE_MS", 10 * WAIT_MS)
    taken = asyncio.Event()

    async def lose(_: bytes) -> bytes:
        taken.set()
        return await asyncio.Future[bytes]()

    dead = world.server.connect()
    await dead.serve(query_subject(0), lose, queue=READER_QUEUE)
    async with world.gateway() as gateway, world.writer():
        asked = asyncio.create_task(gateway.ask(AccountQuery("a", min_sequence=2)))
        await taken.wait()
        dead.cut()
        async with world.reader():
            await submit(gateway, opening("a"))
            assert isinstance(await asked, AccountAnswer)


async def test_a_question_for_a_transfer_to_come_is_answered_when_it_comes(world: World) -> None:
    async with world.gateway() as gateway, world.reader(), world.writer():
        await submit(gateway, opening("a"), opening("b"))
        asked = asyncio.create_task(gateway.ask(TransferQuery("a", "t1", wait_ms=WAIT_MS)))
        await turns()
        await submit(gateway, transfer("t1"))
        answer = await asked
        assert isinstance(answer, TransferAnswer)
        missing = await gateway.ask(TransferQuery("a", "t2", wait_ms=20))
        assert isinstance(missing, NotFound)


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
