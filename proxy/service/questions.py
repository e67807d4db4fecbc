"""Questions to the readers of a partition, asked again and again until one answers in time.

    0        one reader is asked, by turns
    25 ms    all are asked beside it, a hedge, if it may be lost (`proxy.core.hedging`); later,
             0.2 s at most, where more than one answer in 20 takes longer. If nothing tells that it
             is lost, then as soon as it is overtaken
    0.8 s    one is asked again in any case; where a reader may think it over for longer, after 1.6
             and 3.2 s too
    the end  of what a reader may think it over for, and the way there and back: asked anew

A hedge goes to all, because a reader that is paused or cut off is still asked in its turn. The
first answer counts, whichever reader gives it: the question might have come to that one at once.
How old an answer may be stands in the question, so a repeat shows nothing that is older.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Coroutine
from typing import Final

import msgspec
from msgspec import structs

from broker.port import Broker, NoResponse
from contracts.queries import (
    AccountQuery,
    Answer,
    Missing,
    NotFound,
    Query,
    TransferAnswer,
    TransferQuery,
    decode_answer,
    encode_query,
)
from contracts.subjects import query_all_subject, query_subject
from proxy.core.hedging import Awaited, Hedges, awaited
from proxy.ports import NoAnswer

_GRACE_MS: Final = 1_000
"""A reader answers within the wait it was given; this is for the way there and back."""
_SLICE_MS: Final = 5_000
"""The longest wait asked for at a time; a reader waits no longer for a sequence either."""
_OVERDUE_S: Final = 0.8
"""By then it is asked again in any case: a repeat, which takes no hedge."""
_LATE_S: Final = 1.0
"""A reader that has not answered so long after another one did is taken for gone."""
_ASKED_AGAIN_S: Final = 0.1
_READER_ABSENCE_MS: Final = 5_000
"""How long there may be no reader at all, as while one is started again, or while the broker's
server stands still, which is noticed after 3 s."""


class Questions:
    """Asks over a broker. One per proxy process."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._loop = asyncio.get_running_loop()
        self._kinds: defaultdict[tuple[type[Query], Awaited], _Kind] = defaultdict(_Kind)
        """By what is asked for and what is awaited."""
        self._late: set[asyncio.Task[None]] = set()
        """They await the first answers to questions that a hedge was faster with."""

    async def ask(self, partition: int, query: Query) -> Answer:
        """Ask a reader of a partition, or raise NoAnswer.

        A question may be lost with the readers that had it, so none is asked for longer than a
        slice, and it is asked again while another reader may still answer in time.
        """
        settled_ms = self._now_ms() + _thinking_ms(query)
        while True:
            left_ms = max(0, settled_ms - self._now_ms())
            answer = await self._ask_once(partition, query, min(left_ms, _SLICE_MS))
            if isinstance(answer, NoAnswer):
                if self._now_ms() > settled_ms + _READER_ABSENCE_MS:
                    raise answer
                await asyncio.sleep(_ASKED_AGAIN_S)  # noqa: TID251  # nobody tells of a new reader
            elif left_ms <= _SLICE_MS or not _may_yet_come(answer):
                return answer

    async def _ask_once(self, partition: int, query: Query, wait_ms: int) -> Answer | NoAnswer:
        """One question, which a reader may think over for wait_ms."""
        if isinstance(query, TransferQuery):
            query = structs.replace(query, wait_ms=min(query.wait_ms, wait_ms))
        question = encode_query(query)
        until_s = self._loop.time() + (wait_ms + _GRACE_MS) / 1_000

        async def answer(subject: str) -> Answer:
            left_s = until_s - self._loop.time()
            return decode_answer(await self._broker.request(subject, question, timeout_s=left_s))

        asked = _Asked(answer, query_subject(partition), query_all_subject(partition))
        try:
            return await self._first_answer(asked, self._kinds[type(query), awaited(query)])
        except (NoResponse, msgspec.DecodeError) as fault:
            return NoAnswer(f"no reader of partition {partition} answered: {fault}")
        finally:
            await asked.leave()

    async def _first_answer(self, asked: "_Asked", kind: "_Kind") -> Answer:
        """That of the question, a hedge or a repeat. Raise what the last of them raised."""
        hedges = kind.hedges
        number = hedges.note_question()
        began_s, is_hedged = self._loop.time(), False
        first = asked.ask_one()
        look_s, repeat_s = began_s + hedges.soon_s, began_s + _OVERDUE_S
        overtaken: asyncio.Future[None] | None = None
        try:
            while (answer := await asked.answer_by(look_s, overtaken)) is None:
                now_s = self._loop.time()
                if now_s >= repeat_s:
                    asked.ask_one()
                    repeat_s = now_s + (now_s - began_s)
                elif asked.is_left_to_hedge:
                    asked.ask_one()
                elif not is_hedged and hedges.take(number):
                    asked.ask_all()
                    is_hedged = True
                elif overtaken is None:
                    overtaken = kind.overtaken(number)
                look_s = repeat_s
        except (NoResponse, msgspec.DecodeError):
            if is_hedged:
                hedges.give_back()
            raise
        finally:
            kind.leave(number)
        kind.note_answer(number)
        if first.done():  # as nearly always
            if first.exception() is None:
                hedges.note_time(self._loop.time() - began_s)
            return answer
        asked.let_be(first)
        late = asyncio.create_task(self._await_first(first, began_s, hedges, is_hedged=is_hedged))
        self._late.add(late)
        late.add_done_callback(self._late.discard)
        return answer

    async def _await_first(
        self, first: asyncio.Task[Answer], began_s: float, hedges: Hedges, *, is_hedged: bool
    ) -> None:
        """Learn what another answer was faster than: a reader that is slow, or one that is gone."""
        try:
            async with asyncio.timeout(_LATE_S):
                await first
        except (NoResponse, TimeoutError):
            if is_hedged:
                hedges.give_back()
        except msgspec.DecodeError:
            pass  # it could not answer then
        else:
            hedges.note_time(self._loop.time() - began_s)

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1_000)


class _Kind:
    """Questions that ask for the same and await the same."""

    def __init__(self) -> None:
        self.hedges = Hedges()
        self._left: OrderedDict[int, asyncio.Future[None]] = OrderedDict()
        """Those that nothing tells of, about in the order in which they were asked."""

    def overtaken(self, number: int) -> asyncio.Future[None]:
        """When one that was asked later is answered. `leave` must follow."""
        self._left[number] = asyncio.get_running_loop().create_future()
        return self._left[number]

    def leave(self, number: int) -> None:
        """It waits no more."""
        self._left.pop(number, None)

    def note_answer(self, number: int) -> None:
        """A question is answered, which tells those before it."""
        self.hedges.note_answer(number)
        while self._left and next(iter(self._left)) < number:
            self._left.popitem(last=False)[1].set_result(None)


class _Asked:
    """One question, which may be out several times. `leave` must follow."""

    def __init__(
        self, answer: Callable[[str], Coroutine[None, None, Answer]], one: str, every: str
    ) -> None:
        """`answer` asks on a subject: on `one` a reader in its turn, on `every` all of them."""
        self._answer = answer
        self._one = one
        self._every = every
        self._out: set[asyncio.Task[Answer]] = set()
        self._hedge: asyncio.Task[Answer] | None = None

    def ask_one(self) -> asyncio.Task[Answer]:
        """Ask a reader, perhaps once more."""
        asking = asyncio.create_task(self._answer(self._one))
        self._out.add(asking)
        return asking

    def ask_all(self) -> None:
        """Ask all readers, whoever was asked already."""
        self._hedge = asyncio.create_task(self._answer(self._every))
        self._out.add(self._hedge)

    @property
    def is_left_to_hedge(self) -> bool:
        """Whether all that were asked alone have said that they can't answer now."""
        return self._out == {self._hedge}

    def let_be(self, asking: asyncio.Task[Answer]) -> None:
        """Leave it to somebody else to wait for this one."""
        self._out.discard(asking)

    async def answer_by(
        self, until_s: float, overtaken: asyncio.Future[None] | None = None
    ) -> Answer | None:
        """The first answer, or None: then, once it is overtaken, or soon where nobody took it.

        Raise NoResponse or DecodeError when it is out no more.
        """
        loop = asyncio.get_running_loop()
        news = set[asyncio.Future[Answer] | asyncio.Future[None]](self._out)
        if overtaken is not None and not overtaken.done():
            news.add(overtaken)
        await asyncio.wait(
            news, timeout=max(0, until_s - loop.time()), return_when=asyncio.FIRST_COMPLETED
        )
        done = {each for each in self._out if each.done()}
        self._out -= done
        for each in done:
            if each.exception() is None:
                return each.result()
        if not self._out:
            return done.pop().result()
        return await self.answer_by(min(until_s, loop.time() + _ASKED_AGAIN_S)) if done else None

    async def leave(self) -> None:
        """Nobody waits for it any more."""
        for each in self._out:
            each.cancel()
        await asyncio.gather(*self._out, return_exceptions=True)


def _thinking_ms(query: Query) -> int:
    """How long a reader may take over a query, because the query says to wait for something."""
    match query:
        case TransferQuery() if query.wait_ms:
            return query.wait_ms
        case AccountQuery(at_sequence=None, min_sequence=0):
            return 0
        case _:
            return 0 if awaited(query) is Awaited.NOTHING else _SLICE_MS


def _may_yet_come(answer: Answer) -> bool:
    """Whether waiting longer for a transfer may give another answer."""
    if isinstance(answer, TransferAnswer):
        return not answer.is_finished
    return isinstance(answer, NotFound) and answer.missing is Missing.TRANSFER
