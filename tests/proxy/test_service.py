"""The gateway over the in-memory broker, with a real writer and a real reader behind it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from broker.memory_broker import MemoryServer
from broker.witness import Witness
from contracts.commands import Command, OpenAccount, Transfer
from contracts.frames import COMMAND_FRAME, CommandFrame
from contracts.limits import HELD_REQUESTS_MAX
from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    NotFound,
    TransferAnswer,
    TransferQuery,
)
from contracts.rejections import Rejection
from contracts.results import Result
from contracts.subjects import command_stream, command_subject, journal_stream, result_subject
from proxy.ports import NoAnswer, NoRoom
from proxy.service import BrokerGateway
from reader.bootstrap import serve_on
from runtime.settings import ServiceSettings
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.service import PartitionWriter

DEADLINE_S = 15.0
WAIT_MS = 8_000


class World:
    """A broker, and connections of each role."""

    def __init__(self, folder: Path) -> None:
        times = count(1_700_000_000_000_000_000, 1_000_000)
        self.server = MemoryServer(lambda: next(times))
        self.folder = folder
        self.proxy_connection = self.server.connect()

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[BrokerGateway]:
        await self.proxy_connection.provide_streams(1)
        gateway = BrokerGateway(self.proxy_connection, "proxy", 1)
        async with running(gateway.run()):
            await asyncio.sleep(0)
            yield gateway

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[None]:
        witness = Witness(self.folder / "w.witness")
        writer = PartitionWriter(
            self.server.connect(),
            0,
            1,
            writer_id="w",
            witness=witness,
            fresh_key=lambda: b"k" * FINGERPRINT_KEY_BYTES,
        )
        async with running(writer.run()):
            yield
        witness.close()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[None]:
        stop, ready = asyncio.Event(), asyncio.Event()
        settings = ServiceSettings(
            nats_url="", nats_monitor_url="", partition_count=1, data_dir=self.folder
        )
        (self.folder / "witness").mkdir(exist_ok=True)
        task = asyncio.create_task(serve_on(self.server.connect(), settings, stop, ready.set))
        await ready.wait()
        yield
        stop.set()
        await task

    def frames(self) -> list[CommandFrame]:
        """What was sent by the proxy."""
        messages = self.server.streams[command_stream(0)].messages
        return [COMMAND_FRAME.decode(message.data) for message in messages]


@asynccontextmanager
async def running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with asyncio.timeout(DEADLINE_S):
        yield World(tmp_path)


def opening(account_id: str) -> OpenAccount:
    return OpenAccount(account_id, "USD", 1_000)


def transfer(transaction_id: str, amount: int = 1) -> Transfer:
    return Transfer("a", "b", amount, "USD", transaction_id)


async def submit(gateway: BrokerGateway, *commands: Command) -> list[Result | None]:
    return await asyncio.gather(*(gateway.submit(each, wait_ms=WAIT_MS) for each in commands))


async def test_requests_of_one_turn_leave_in_one_frame_and_get_their_own_results(
    world: World,
) -> None:
    async with world.gateway() as gateway, world.reader(), world.writer():
        await submit(gateway, opening("a"), opening("b"))
        first, again, other = await submit(
            gateway, transfer("t1"), transfer("t1"), transfer("t1", 2)
        )
    assert [len(frame.commands) for frame in world.frames()] == [2, 3]
    assert first is not None
    assert (first.rejection, first.balance_minor, first.repeated) == (None, -1, False)
    assert again is not None
    assert (again.sequence, again.balance_minor, again.repeated) == (first.sequence, -1, True)
    assert other is not None
    assert other.rejection is Rejection.IDEMPOTENCY_CONFLICT


async def test_a_command_that_got_lost_is_sent_again(world: World) -> None:
    async with world.gateway() as gateway:
        waiting = gateway.submit(opening("a"), wait_ms=WAIT_MS)
        await stored(world, 1)
        world.server.lose_tail(command_stream(0), 1)
        async with world.reader(), world.writer():
            result = await waiting
    assert result is not None
    assert result.rejection is None


async def test_a_result_that_got_lost_is_pushed_again(world: World) -> None:
    async with world.gateway() as gateway:
        waiting = gateway.submit(opening("a"), wait_ms=WAIT_MS)
        await stored(world, 1)
        world.proxy_connection.cut()
        async with world.reader(), world.writer():
            journal = world.server.streams[journal_stream(0)]
            while len(journal.messages) < 2:
                await journal.changed.wait()
            await turns()
            world.proxy_connection.mend()
            result = await waiting
    assert result is not None
    assert (result.rejection, result.sequence, result.repeated) == (None, 2, True)


async def test_what_is_submitted_without_a_connection_leaves_after_the_reconnect(
    world: World,
) -> None:
    async with world.gateway() as gateway, world.reader(), world.writer():
        world.proxy_connection.cut()
        waiting = gateway.submit(opening("a"), wait_ms=WAIT_MS)
        not_waiting = gateway.submit(opening("b"), wait_ms=0)
        await turns()
        assert world.frames() == []
        assert not not_waiting.done()
        world.proxy_connection.mend()
        assert await waiting is not None
        assert await not_waiting is None


async def test_a_request_that_was_never_sent_ends_with_no_room(world: World) -> None:
    async with world.gateway() as gateway:
        world.proxy_connection.cut()
        with pytest.raises(NoRoom, match="nothing was sent"):
            await gateway.submit(opening("a"), wait_ms=50)


async def test_requests_that_do_not_wait_do_not_pile_up_in_an_outage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.WAIT_MS_DEFAULT", 50)
    async with world.gateway() as gateway:
        world.proxy_connection.cut()
        for number in range(3):
            with pytest.raises(NoRoom):
                await gateway.submit(opening(f"a{number}"), wait_ms=0)
        await turns()
        assert gateway._not_waiting == []  # noqa: SLF001  # nothing may pile up


async def test_a_request_without_a_result_ends_unknown_and_frees_its_place(world: World) -> None:
    async with world.gateway() as gateway:
        hasty = [gateway.submit(opening(f"h{n}"), wait_ms=50) for n in range(40)]
        assert await asyncio.gather(*hasty) == [None] * 40
        async with world.reader(), world.writer():
            assert await gateway.submit(opening("a"), wait_ms=WAIT_MS) is not None


async def test_one_request_too_many_is_refused_before_anything_is_sent(world: World) -> None:
    async with world.gateway() as gateway:
        for number in range(HELD_REQUESTS_MAX):
            gateway.submit(opening(f"a{number}"), wait_ms=WAIT_MS)
        with pytest.raises(NoRoom):
            gateway.submit(opening("one-more"), wait_ms=WAIT_MS)
        await stored(world, 4)
    names = {each.routing_account_id for frame in world.frames() for each in frame.commands}
    assert "one-more" not in names


async def test_results_for_nobody_and_garbage_are_ignored(world: World) -> None:
    async with world.gateway() as gateway, world.reader(), world.writer():
        stranger = world.server.connect()
        await stranger.publish(result_subject("proxy"), b"garbage")
        await submit(gateway, opening("a"))
        await stranger.publish(command_subject(0), COMMAND_FRAME.encode(world.frames()[0]))
        result = (await submit(gateway, opening("a")))[0]
    assert result is not None
    assert result.repeated


async def test_a_question_waits_for_a_reader_that_is_started_again(world: World) -> None:
    async with world.gateway() as gateway, world.writer():
        asked = asyncio.create_task(gateway.ask(AccountQuery("a")))
        await turns()
        async with world.reader():
            await submit(gateway, opening("a"))
            answer = await asked
            assert isinstance(answer, NotFound | AccountAnswer)
            assert isinstance(await gateway.ask(AccountQuery("a")), AccountAnswer)


async def test_a_question_that_nobody_answers_ends(world: World) -> None:
    async with world.gateway() as gateway:
        with pytest.raises(NoAnswer):
            await gateway.ask(AccountQuery("a"))


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


async def stored(world: World, times: int) -> None:
    """Return when so many command frames are in the queue."""
    stream = world.server.streams[command_stream(0)]
    while len(stream.messages) < times:
        await stream.changed.wait()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
