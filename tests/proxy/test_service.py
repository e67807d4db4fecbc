"""The gateway over the in-memory broker, with a real writer and a real reader behind it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from msgspec import structs

from broker.memory_broker import MemoryServer
from contracts.commands import Command, OpenAccount, Transfer
from contracts.coordination import CREDIT_STEPS, Coordination
from contracts.frames import COMMAND_FRAME, CommandFrame
from contracts.limits import HELD_REQUESTS_MAX, RESEND_AFTER_MS
from contracts.parties import parties
from contracts.partitioning import SlotMap
from contracts.queries import (
    AccountAnswer,
    AccountQuery,
    CreditStepsAnswer,
    CreditStepsQuery,
    NotFound,
    TransferAnswer,
    TransferQuery,
    UnfinishedQuery,
)
from contracts.rejections import Rejection
from contracts.results import Result
from contracts.status import WriterStatus, encode_status
from contracts.subjects import (
    READER_QUEUE,
    command_subject,
    journal_stream,
    query_subject,
    queue_stream,
    result_subject,
    status_subject,
)
from proxy.ports import NoAnswer, NoRoom, Unavailable
from proxy.service.gateway import BrokerGateway
from reader.bootstrap import serve_on
from runtime.settings import ServiceSettings
from writer.bootstrap import make_writers
from writer.core.idempotency import FINGERPRINT_KEY_BYTES

pytestmark = pytest.mark.virtual_time

DEADLINE_S = 15.0
WAIT_MS = 8_000


class World:
    """A broker, and connections of each role."""

    def __init__(self, folder: Path, partition_count: int = 1) -> None:
        times = count(1_700_000_000_000_000_000, 1_000_000)
        self.server = MemoryServer(lambda: next(times))
        self.slots = SlotMap.even(partition_count)
        self.settings = ServiceSettings(
            nats_url="", nats_monitor_url="", partition_count=partition_count, data_dir=folder
        )
        (folder / "witness").mkdir(exist_ok=True)
        self.proxy_connection = self.server.connect()

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[BrokerGateway]:
        await self.proxy_connection.provide_streams(self.slots.partition_count)
        gateway = BrokerGateway(self.proxy_connection, "proxy", self.slots)
        async with running(gateway.run()):
            await asyncio.sleep(0)
            yield gateway

    @asynccontextmanager
    async def writer(self, *absent: int) -> AsyncIterator[None]:
        """The writer of all parties but those that are absent."""
        async with AsyncExitStack() as works:
            writers = make_writers(
                self.server.connect(),
                self.settings,
                self.slots,
                "w",
                works.enter_context(ExitStack()),
                led=set(parties(self.slots.partition_count)) - set(absent),
                fresh_key=lambda: b"k" * FINGERPRINT_KEY_BYTES,
            )
            for work in writers.works():
                await works.enter_async_context(running(work))
            yield

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[None]:
        stop, ready = asyncio.Event(), asyncio.Event()
        connection = self.server.connect()
        task = asyncio.create_task(serve_on(connection, self.settings, stop, ready.set))
        await ready.wait()
        yield
        stop.set()
        await task
        await connection.close()  # as its process would: what it served is gone

    def frames(self) -> list[CommandFrame]:
        """What was sent by the proxy."""
        messages = self.server.streams[queue_stream(0)].messages
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
        world.server.lose_tail(queue_stream(0), 1)
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


async def notice_absence(world: World, gateway: BrokerGateway) -> None:
    """Lose a command that may have been taken, with its queue: its outcome is not known."""
    waiting = gateway.submit(opening("lost"), wait_ms=300)
    await stored(world, 1)
    world.server.lose_stream(queue_stream(0))
    assert await waiting is None


async def test_what_no_queue_took_is_refused_and_not_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.core.held.RESEND_AFTER_MS", 50)
    async with world.gateway() as gateway:
        await notice_absence(world, gateway)
        with pytest.raises(Unavailable, match="nothing was sent"):
            await gateway.submit(opening("a"), wait_ms=50)
        waiting = gateway.submit(opening("b"), wait_ms=WAIT_MS)
        world.server.restore(queue_stream(0))
        async with world.reader(), world.writer():
            assert await waiting is not None
    names = {each.routing_account_id for frame in world.frames() for each in frame.commands}
    assert "a" not in names


async def test_when_one_queue_is_absent_the_others_are_asked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.core.held.RESEND_AFTER_MS", 50)
    world = World(tmp_path, partition_count=2)
    here, there = (
        next(name for name in map(str, count()) if world.slots.partition_of(name) == partition)
        for partition in range(2)
    )
    async with asyncio.timeout(DEADLINE_S), world.gateway() as gateway:
        waiting = gateway.submit(opening(here), wait_ms=300)
        await stored(world, 1)
        for partition in range(2):
            world.server.lose_stream(queue_stream(partition))
        assert await waiting is None
        with pytest.raises(Unavailable):
            await gateway.submit(opening(there), wait_ms=50)


async def test_a_long_absence_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.core.held.RESEND_AFTER_MS", 50)
    monkeypatch.setattr("proxy.core.absence.ABSENCE_MS_MAX", 200)
    async with world.gateway() as gateway:
        await notice_absence(world, gateway)
        async with asyncio.timeout(WAIT_MS / 2_000):
            with pytest.raises(Unavailable):
                await gateway.submit(opening("a"), wait_ms=WAIT_MS)


async def test_requests_that_do_not_wait_do_not_pile_up_in_an_outage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.gateway.WAIT_MS_DEFAULT", 50)
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


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[World]:
    """Two partitions: account "b" lives in one, "a" in the other."""
    async with asyncio.timeout(DEADLINE_S):
        world = World(tmp_path, partition_count=2)
        assert world.slots.partition_of("a") != world.slots.partition_of("b")
        yield world


@pytest.mark.parametrize("coordination", [each for each in Coordination if each])
async def test_a_transfer_between_partitions_is_answered_once_with_its_outcome(
    apart: World, coordination: Coordination
) -> None:
    async with apart.gateway() as gateway, apart.reader(), apart.writer():
        await submit(gateway, opening("a"), opening("b"))
        command = structs.replace(transfer("t1", 7), coordination=coordination)
        first, again = await submit(gateway, command, command)
        too_much = structs.replace(transfer("t2", 1_001), coordination=coordination)
        refused = (await submit(gateway, too_much))[0]
        found = await gateway.ask(TransferQuery("a", "t1"))
        credit = await gateway.ask(CreditStepsQuery("b", "a", "t1"))
        unfinished = await gateway.unfinished(UnfinishedQuery(limit=9))
    assert first is not None
    assert (first.rejection, first.balance_minor, first.coordination) == (None, -7, coordination)
    assert again is not None
    assert again == structs.replace(first, request_number=again.request_number, repeated=True)
    assert refused is not None
    assert refused.rejection is Rejection.INSUFFICIENT_FUNDS
    assert isinstance(found, TransferAnswer)
    assert (found.is_finished, found.coordination) == (True, coordination)
    assert isinstance(credit, CreditStepsAnswer)
    assert credit.partition == apart.slots.partition_of("b") != found.partition
    assert {step.step in CREDIT_STEPS for step in found.steps} == {False}
    assert {step.step in CREDIT_STEPS for step in credit.steps} == {True}
    assert sorted(answer.partition for answer in unfinished) == [0, 1]
    assert [answer.count for answer in unfinished] == [0, 0]


async def test_a_transfer_under_way_is_shown_and_waited_for_until_it_is_finished(
    apart: World,
) -> None:
    payee = apart.slots.partition_of("b")
    async with apart.gateway() as gateway, apart.reader():
        async with apart.writer():
            await submit(gateway, opening("a"), opening("b"))
        async with apart.writer(payee):
            assert await gateway.submit(transfer("t1"), wait_ms=100) is None
            pending = await gateway.ask(TransferQuery("a", "t1", wait_ms=20))
            unfinished = await gateway.unfinished(UnfinishedQuery(limit=9))
        asked = asyncio.create_task(gateway.ask(TransferQuery("a", "t1", wait_ms=WAIT_MS)))
        async with apart.writer():
            finished = await asked
    assert isinstance(pending, TransferAnswer)
    assert not pending.is_finished
    names = [each.transaction_id for answer in unfinished for each in answer.transfers]
    assert names == ["t1"]
    assert isinstance(finished, TransferAnswer)
    assert (finished.is_finished, finished.rejection) == (True, None)


async def test_transfers_that_wait_for_another_partition_keep_no_others_back(apart: World) -> None:
    payee = apart.slots.partition_of("b")
    local = next(f"l{n}" for n in range(99) if apart.slots.partition_of(f"l{n}") != payee)
    async with apart.gateway() as gateway, apart.reader():
        async with apart.writer():
            await submit(gateway, opening("a"), opening("b"), opening(local))
        async with apart.writer(payee):
            slow = []
            for number in range(20):
                slow.append(gateway.submit(transfer(f"t{number}"), wait_ms=WAIT_MS))
                await turns()
            quick = Transfer("a", local, 1, "USD", "quick")
            assert await gateway.submit(quick, wait_ms=RESEND_AFTER_MS // 2) is not None
            assert not any(waiting.done() for waiting in slow)
        async with apart.writer():
            results = await asyncio.gather(*slow)
    assert [result is not None and result.rejection for result in results] == [None] * 20


async def test_unfinished_transfers_are_asked_of_every_partition_or_of_none(
    apart: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.gateway._READER_ABSENCE_MS", 200)
    async with apart.gateway() as gateway:
        with pytest.raises(NoAnswer):
            await gateway.unfinished(UnfinishedQuery(limit=9))


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


async def stored(world: World, times: int) -> None:
    """Return when so many command frames are in the queue."""
    stream = world.server.streams[queue_stream(0)]
    while len(stream.messages) < times:
        await stream.changed.wait()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
