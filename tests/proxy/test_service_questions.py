"""Questions that the gateway asks of readers, which may be away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from broker.memory_broker import MemoryBroker
from contracts.queries import (
    NOT_NOW,
    AccountAnswer,
    AccountQuery,
    Answer,
    ChangesQuery,
    CreditStepsQuery,
    EntriesQuery,
    Mark,
    NotFound,
    Query,
    TransferAnswer,
    TransferQuery,
    UnfinishedQuery,
    encode_answer,
)
from contracts.subjects import (
    READER_QUEUE,
    query_all_subject,
    query_subject,
)
from proxy.core.hedging import HEDGES_MAX, QUESTIONS_PER_HEDGE
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

STALL_S_MAX = 0.1
FOUND = encode_answer(AccountAnswer(0, 2, 0, "USD", 0, 0, 0))

Answerer = Callable[[], Awaitable[bytes]]


class Asked:
    """A reader that answers the first partition's questions as a test wants it to."""

    def __init__(self, connection: MemoryBroker, answer: Answerer) -> None:
        self.connection = connection
        self.count = 0
        self.hedges = 0
        """Of the count, those that all readers got."""
        self.taken = asyncio.Event()
        self._answer = answer

    async def answer(self, _: bytes) -> bytes:
        self.count += 1
        self.taken.set()
        return await self._answer()

    async def answer_if_able(self, data: bytes) -> bytes | None:
        """As to a question that all readers get."""
        self.hedges += 1
        answer = await self.answer(data)
        return None if answer == NOT_NOW else answer


@asynccontextmanager
async def asked_reader(world: World, answer: Answerer) -> AsyncIterator[Asked]:
    """The broker in memory asks each in turn, in the order in which they came."""
    asked = Asked(world.server.connect(), answer)
    await asked.connection.serve(query_subject(0), asked.answer, queue=READER_QUEUE)
    await asked.connection.serve(query_all_subject(0), asked.answer_if_able)
    yield asked
    await asked.connection.close()


async def never() -> bytes:
    return await asyncio.Future[bytes]()


def after(seconds: float, answer: bytes = FOUND) -> Answerer:
    async def answered() -> bytes:
        await asyncio.sleep(seconds)
        return answer

    return answered


async def timed(asking: Awaitable[Answer]) -> tuple[float, Answer]:
    """How long it takes from now, in virtual seconds, and the answer."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    answer = await asking
    return loop.time() - begin_s, answer


def allow_hedges(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr("proxy.core.hedging.HEDGES_MAX", most)


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
    monkeypatch.setattr("proxy.service.questions._READER_ABSENCE_MS", 200)
    async with world.gateway() as gateway:
        with pytest.raises(NoAnswer):
            await gateway.ask(AccountQuery("a"))


@pytest.mark.parametrize(
    "query",
    [
        AccountQuery("a"),
        AccountQuery("a", min_sequence=2),
        EntriesQuery("a", limit=1),
        TransferQuery("a", "t1"),
        TransferQuery("a", "t1", wait_ms=WAIT_MS),
        CreditStepsQuery("b", "a", "t1"),
        UnfinishedQuery(limit=1),
        ChangesQuery([Mark("a", 0)], limit=1, min_sequence=2),
    ],
    ids=repr,
)
async def test_what_a_dead_reader_was_asked_another_one_answers_within_100_ms(
    world: World, query: Query
) -> None:
    async with (
        world.gateway() as gateway,
        world.writer(),
        asked_reader(world, never) as dead,
        world.reader(),
    ):
        await submit(gateway, opening("a"), opening("b"), transfer("t1"))
        asked = asyncio.create_task(gateway.ask_partition(0, query))
        await dead.taken.wait()
        dead.connection.cut()
        elapsed_s, answer = await timed(asked)
    assert not isinstance(answer, NotFound)
    assert elapsed_s < STALL_S_MAX


@pytest.mark.parametrize(
    ("query", "waited_s"),
    [
        (AccountQuery("a"), 1),
        (AccountQuery("a", at_ms=1), 1),
        (AccountQuery("a", at_ms=1, min_sequence=2), 6),
        (AccountQuery("a", at_sequence=2), 6),
        (TransferQuery("a", "t1"), 1),
        (TransferQuery("a", "t1", wait_ms=500), 1.5),
    ],
    ids=repr,
)
async def test_only_what_a_question_says_to_wait_for_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, query: Query, waited_s: float
) -> None:
    monkeypatch.setattr("proxy.service.questions._READER_ABSENCE_MS", 0)
    loop = asyncio.get_running_loop()
    async with world.gateway() as gateway, asked_reader(world, never):
        begun_s = loop.time()
        with pytest.raises(NoAnswer):
            await gateway.ask_partition(0, query)
    assert loop.time() - begun_s == pytest.approx(waited_s, abs=0.01)


@pytest.mark.parametrize("query", [AccountQuery("a"), AccountQuery("a", min_sequence=2)], ids=repr)
async def test_readers_that_take_questions_and_answer_none_stop_no_read(
    world: World, query: AccountQuery
) -> None:
    """As when they are paused or cut off; there are fewer hedges than they take questions."""
    rate_per_s, silent_s = 150, 6
    async with (
        world.gateway() as gateway,
        asked_reader(world, never) as cut_off,
        asked_reader(world, never),
        asked_reader(world, after(0.001)),
    ):
        reads = []
        for _ in range(rate_per_s * silent_s):
            reads.append(asyncio.create_task(timed(gateway.ask(query))))
            await asyncio.sleep(1 / rate_per_s)
        longest_s = max(elapsed_s for elapsed_s, _ in await asyncio.gather(*reads))
    assert cut_off.count - cut_off.hedges > HEDGES_MAX
    assert longest_s < STALL_S_MAX


async def test_hedges_of_questions_that_nobody_answers_are_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.questions._READER_ABSENCE_MS", 0)
    allow_hedges(monkeypatch, 1)
    async with world.gateway() as gateway, asked_reader(world, never) as dead:
        with pytest.raises(NoAnswer):
            await gateway.ask_partition(0, AccountQuery("a"))
        assert dead.hedges == 1
        async with asked_reader(world, after(0.001)):
            for _ in range(2):
                elapsed_s, _ = await timed(gateway.ask_partition(0, AccountQuery("a")))
                assert elapsed_s < STALL_S_MAX
        assert dead.hedges == 2


async def test_a_question_that_nothing_can_tell_of_is_hedged_once_it_is_overtaken(
    world: World,
) -> None:
    """It is not the newest, and none that was asked later is answered yet."""
    async with (
        world.gateway() as gateway,
        asked_reader(world, never),
        asked_reader(world, after(0.04)),
    ):
        first = asyncio.create_task(timed(gateway.ask(AccountQuery("a"))))
        await asyncio.sleep(0.02)
        await gateway.ask(AccountQuery("a"))
        elapsed_s, answer = await first
    assert isinstance(answer, AccountAnswer)
    assert elapsed_s == pytest.approx(0.02 + 0.04 + 0.04)


async def test_a_question_that_is_overtaken_when_no_hedge_is_left_waits_for_its_repeat(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_hedges(monkeypatch, 0)
    async with (
        world.gateway() as gateway,
        asked_reader(world, never) as silent,
        asked_reader(world, after(0.04)),
    ):
        first = asyncio.create_task(timed(gateway.ask(AccountQuery("a", min_sequence=2))))
        await asyncio.sleep(0.02)
        await gateway.ask(AccountQuery("a", min_sequence=2))
        silent.connection.cut()
        elapsed_s, answer = await first
    assert isinstance(answer, AccountAnswer)
    assert elapsed_s == pytest.approx(0.8 + 0.04)


async def test_a_question_that_is_left_by_hedges_is_asked_again_long_before_its_time_is_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.questions._SLICE_MS", 10 * WAIT_MS)
    allow_hedges(monkeypatch, 0)
    async with world.gateway() as gateway, world.writer(), asked_reader(world, never) as dead:
        asked = asyncio.create_task(gateway.ask(AccountQuery("a", min_sequence=2)))
        await dead.taken.wait()
        dead.connection.cut()
        async with world.reader():
            await submit(gateway, opening("a"))
            elapsed_s, answer = await timed(asked)
    assert isinstance(answer, AccountAnswer)
    assert elapsed_s < 2


async def test_slow_readers_get_few_questions_more(world: World) -> None:
    """All answer in the order in which they were asked: nothing is lost but perhaps the last."""
    async with world.gateway() as gateway, asked_reader(world, after(0.06)) as slow:
        await asyncio.gather(*(gateway.ask(AccountQuery("a")) for _ in range(100)))
        assert slow.count == 101


async def test_where_one_reader_is_slow_and_one_is_not_few_are_asked_once_more(
    world: World,
) -> None:
    """A burst, and of every twenty questions one."""
    async with (
        world.gateway() as gateway,
        asked_reader(world, after(0.3)) as slow,
        asked_reader(world, after(0)) as fast,
    ):
        for number, hedges in ((4 * HEDGES_MAX, HEDGES_MAX), (20 * QUESTIONS_PER_HEDGE, 20)):
            slow.count = fast.count = 0
            await asyncio.gather(*(gateway.ask(AccountQuery("a")) for _ in range(number)))
            assert slow.count + fast.count == number + 2 * hedges


async def test_what_comes_as_late_as_many_answers_is_not_asked_once_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hedges that were spent on that would be missed when a reader dies."""
    most = 64
    allow_hedges(monkeypatch, most)
    async with world.gateway() as gateway, asked_reader(world, after(0)):
        async with asked_reader(world, after(0.06)):
            await asyncio.gather(*(gateway.ask(AccountQuery("a")) for _ in range(4 * HEDGES_MAX)))
        async with asked_reader(world, after(0.05)) as slow:
            number = 2 * most * QUESTIONS_PER_HEDGE
            await asyncio.gather(*(gateway.ask(AccountQuery("a")) for _ in range(number)))
            assert slow.count == number // 2


async def test_slow_questions_of_one_kind_use_up_no_others_hedges(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_hedges(monkeypatch, 1)
    async with world.gateway() as gateway, asked_reader(world, after(0.2)) as reader:
        for query, count in (
            (TransferQuery("a", "t1", wait_ms=WAIT_MS), 2),
            (TransferQuery("a", "t1", wait_ms=WAIT_MS), 1),
            (TransferQuery("a", "t1"), 2),
            (EntriesQuery("a", limit=1), 2),
            (AccountQuery("a", min_sequence=2), 2),
            (AccountQuery("a"), 2),
            (AccountQuery("a"), 1),
        ):
            reader.count = 0
            await gateway.ask(query)
            assert reader.count == count, query


@pytest.mark.parametrize(
    ("first", "second", "expected_s"),
    [
        (after(0.06, NOT_NOW), after(0.08), 0.025 + 0.08),
        (after(0.08), after(0.0, NOT_NOW), 0.08),
    ],
)
async def test_who_can_not_look_into_its_store_keeps_nobody_from_the_other_readers_answer(
    world: World, first: Answerer, second: Answerer, expected_s: float
) -> None:
    async with (
        world.gateway() as gateway,
        asked_reader(world, first),
        asked_reader(world, second),
    ):
        elapsed_s, answer = await timed(gateway.ask(AccountQuery("a")))
    assert isinstance(answer, AccountAnswer)
    assert elapsed_s == pytest.approx(expected_s, abs=0.001)


async def test_a_reader_that_could_not_answer_is_soon_asked_again_though_a_hedge_is_out(
    world: World,
) -> None:
    """To the hedge nobody says that it can't, so as to leave it to others."""
    answers = iter([NOT_NOW, NOT_NOW, NOT_NOW])

    async def answer() -> bytes:
        await asyncio.sleep(0.04)
        return next(answers, FOUND)

    async with world.gateway() as gateway, asked_reader(world, answer) as reader:
        elapsed_s, told = await timed(gateway.ask(AccountQuery("a")))
    assert isinstance(told, AccountAnswer)
    assert reader.count == 4, "first, by the hedge, and twice again"
    assert elapsed_s < 4 * STALL_S_MAX


@pytest.mark.parametrize("soon_s", [0.025, 0.049, 0.1, 0.2])
async def test_however_late_hedges_come_a_question_is_asked_again_within_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch, soon_s: float
) -> None:
    allow_hedges(monkeypatch, 0)
    monkeypatch.setattr("proxy.core.hedging.SOON_S_MIN", soon_s)
    query = AccountQuery("a", min_sequence=2)
    async with (
        world.gateway() as gateway,
        asked_reader(world, never),
        asked_reader(world, after(0)),
    ):
        elapsed_s, _ = await timed(gateway.ask(query))
    assert elapsed_s == pytest.approx(0.8)


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
