"""A stream of which several servers keep copies, some damaged: which is followed, and when none.

Here each copy is a mirror on one server, as those have the same sequences and times; and which one
a consumer reads is the test's to say, where a cluster leaves it to chance.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker import nats_copies_tried, nats_following, nats_stillness
from broker.nats_broker import NatsBroker
from broker.nats_following import NatsFollowing
from broker.nats_streams import API_TIMEOUT_S
from broker.port import BrokerUnfit
from contracts.subjects import journal_stream, journal_subject
from tests.broker.implementations import DEADLINE_S, over_nats

pytestmark = pytest.mark.server

JOURNAL = journal_stream(0)
WHOLE = "WHOLE"


class Copies:
    """The servers of one stream, as a following sees them."""

    def __init__(self, broker: NatsBroker) -> None:
        self.next: list[str] = []
        """Whose copies the next consumers read; the last one's once there are no more."""
        self.read: list[str] = []
        """Whose copies were read, one after the other."""
        self.asked = 0
        """How often the stream's leader was asked whether there is more."""
        self.leads = JOURNAL
        """Whose copy is the leader's."""
        self.leader_answers = asyncio.Event()
        self.leader_answers.set()
        self.answers_after = 0
        """How many messages a new consumer delivers before it is told that it is made."""
        self.broker = broker
        self._following: NatsFollowing | None = None
        self._readers: dict[str, str] = {}

    async def append(self, last: int) -> None:
        appended = await self.broker.append(
            journal_subject(0), b"frame", expected_last_sequence=last
        )
        await appended

    async def make(self, name: str, *lost: int) -> None:
        """A copy without some of the messages that there are."""
        await self._done("STREAM.CREATE", name, {"name": name, "mirror": {"name": JOURNAL}})
        await self.until_copied(name)
        for sequence in lost:
            await self._done("STREAM.MSG.DELETE", name, {"seq": sequence})

    async def make_other(self, name: str, count: int) -> None:
        """A copy with as many messages, all of them others."""
        await self._done("STREAM.CREATE", name, {"name": name, "subjects": [name]})
        for last in range(count):
            await (await self.broker.append(name, b"other", expected_last_sequence=last))

    async def until_copied(self, name: str) -> None:
        last = (await self.broker.stream_state(JOURNAL)).last_sequence
        async with asyncio.timeout(DEADLINE_S):
            while (await self.broker.stream_state(name)).last_sequence < last:  # noqa: ASYNC110  # the server's
                await asyncio.sleep(0.01)

    async def purge(self, name: str) -> None:
        """Take all messages away, as when they are too old. Their sequences are not used again."""
        await self._done("STREAM.PURGE", name, {})

    async def until_asked(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.asked < count:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)

    async def until_made(self, count: int) -> None:
        """So many consumers."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.read) < count:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)

    async def _done(self, verb: str, name: str, body: dict[str, Any]) -> None:
        answer = await self.broker.api(f"{verb}.{name}", body)
        assert "error" not in answer, answer

    async def api(
        self, verb: str, body: dict[str, Any] | None = None, *, timeout_s: float = API_TIMEOUT_S
    ) -> dict[str, Any]:
        """As a cluster answers, which places each consumer on one of the servers."""
        if verb == f"STREAM.MSG.GET.{JOURNAL}":
            self.asked += 1
            await self.leader_answers.wait()
            return await self.broker.api(f"STREAM.MSG.GET.{self.leads}", body, timeout_s=timeout_s)
        what, stream, consumer = verb.rsplit(".", 2)
        assert stream == JOURNAL
        if body is not None:
            self._readers[consumer] = self.next.pop(0) if len(self.next) > 1 else self.next[0]
            self.read.append(self._readers[consumer])
            body = body | {"stream_name": self._readers[consumer]}
        verb = f"{what}.{self._readers[consumer]}.{consumer}"
        answer = await self.broker.api(verb, body, timeout_s=timeout_s)
        if body is not None:
            await self._until_delivered(self.answers_after)
        return answer | {"cluster": {"leader": self._readers[consumer]}}

    async def follow(self, *names: str) -> NatsFollowing:
        """Follow the stream from its beginning, on these copies one after the other."""
        self.next = list(names)
        self._following = following = NatsFollowing(
            self.broker._client,  # noqa: SLF001  # there is no other way to it
            self.api,
            self.broker._message_now,  # noqa: SLF001  # likewise
            JOURNAL,
            after=None,
            restore=None,
            on_close=lambda _: None,
        )
        await following.start()
        return following

    async def _until_delivered(self, count: int) -> None:
        assert self._following is not None
        async with asyncio.timeout(DEADLINE_S):
            while self._following.backlog < count:  # noqa: ASYNC110  # nothing tells of a backlog
                await asyncio.sleep(0.001)
        await self.broker.stream_state(JOURNAL)  # so long, what was sent with these comes too


@pytest.fixture
async def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Copies]:
    """A journal of five messages, and a whole copy of it."""
    monkeypatch.setattr(nats_following, "_RETRY_S", 0.0)
    async with over_nats(tmp_path) as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        await broker.provide_streams(1)
        copies = Copies(broker)
        for last in range(5):
            await copies.append(last)
        await copies.make(WHOLE)
        yield copies
        await broker.close()


async def read(following: NatsFollowing, last: int) -> list[int]:
    """The sequences that come, until the last one or a fault."""
    found: list[int] = []
    async with asyncio.timeout(DEADLINE_S):
        async for messages in following:
            found += [message.sequence for message in messages]
            if found[-1] == last:
                break
    return found


async def test_where_a_copy_has_a_gap_another_one_is_followed(copies: Copies) -> None:
    await copies.make("GAP", 3)
    following = await copies.follow("GAP", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == ["GAP", WHOLE]
    await following.close()


async def test_what_a_copy_still_brings_when_it_is_left_does_not_cost_the_next_one(
    copies: Copies, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A long journal goes on to come behind the gap, until the old consumer is dropped."""
    monkeypatch.setattr(nats_following, "_RETRY_S", 0.5)
    await copies.make("GAP", 3)
    following = await copies.follow("GAP", WHOLE, "GAP")
    assert await read(following, 2) == [1, 2]
    await copies.append(5)
    await copies.until_copied("GAP")
    assert await read(following, 6) == [3, 4, 5, 6]
    assert copies.read == ["GAP", WHOLE]
    assert "gap before" not in caplog.text, "then another consumer would be made at once"
    await following.close()


async def test_a_copy_that_lacks_its_beginning_is_left_too(copies: Copies) -> None:
    await copies.make("LATE", 1, 2)
    following = await copies.follow("LATE", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == ["LATE", WHOLE]
    await following.close()


async def test_copies_with_gaps_in_different_places_are_a_whole_one(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each gap is looked for in all copies anew."""
    monkeypatch.setattr(nats_copies_tried, "_COPIES_TRIED_MAX", 2)
    for lost in (2, 3, 4):
        await copies.make(f"WITHOUT_{lost}", lost)
    following = await copies.follow("WITHOUT_2", "WITHOUT_3", "WITHOUT_4", "WITHOUT_2")
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await following.close()


async def test_what_no_copy_holds_ends_the_following_with_what_to_do(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_copies_tried, "_COPIES_TRIED_MAX", 3)
    await copies.make("GAP", 3, 4)
    following = await copies.follow("GAP")
    assert await read(following, 2) == [1, 2]
    with pytest.raises(
        BrokerUnfit,
        match=r"messages 3 to 4 of EVT_0 .* tried 3 times.* Stop it and check its files",
    ):
        await read(following, 5)
    assert copies.read == 3 * ["GAP"]
    await following.close()


async def test_what_is_delivered_before_the_consumer_is_known_to_be_made_is_no_single_copys(
    copies: Copies,
) -> None:
    """Whether the stream has other copies is told with that."""
    await copies.make("GAP", 3)
    copies.answers_after = 2
    following = await copies.follow("GAP", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await following.close()


LACKING = {"it ends before": (4, 5), "it lacks it": (4,), "it has another": ()}
"""What a copy is without whose last message was read from another one: the fourth."""


async def follow_to_the_fourth(copies: Copies, *names: str) -> NatsFollowing:
    """On a copy that ends there; the next consumers are made on these."""
    await copies.make("FOUR", 5)
    following = await copies.follow("FOUR")
    assert await read(following, 4) == [1, 2, 3, 4]
    copies.next = list(names)
    following.reset()
    return following


async def make_lacking(copies: Copies, lost: tuple[int, ...]) -> None:
    if lost:
        await copies.make("LACKING", *lost)
    else:
        await copies.make_other("LACKING", 6)


@pytest.mark.parametrize("lost", LACKING.values(), ids=LACKING)
async def test_a_copy_without_the_last_message_that_was_read_is_left(
    copies: Copies, lost: tuple[int, ...]
) -> None:
    await make_lacking(copies, lost)
    following = await follow_to_the_fourth(copies, "LACKING", "LACKING", WHOLE)
    assert await read(following, 5) == [5]
    assert copies.read == ["FOUR", "LACKING", "LACKING", WHOLE]
    await following.close()


@pytest.mark.parametrize("lost", LACKING.values(), ids=LACKING)
async def test_a_message_that_was_read_and_is_in_no_copy_ends_the_following(
    copies: Copies, monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]
) -> None:
    """What follows another history, or none, must not be taken for the same journal's."""
    monkeypatch.setattr(nats_copies_tried, "_SHORT_COPIES_TRIED_MAX", 3)
    await make_lacking(copies, lost)
    following = await follow_to_the_fourth(copies, "LACKING")
    with pytest.raises(
        BrokerUnfit, match=r"message 4 of EVT_0, which was read before, .* tried 3 times"
    ):
        await read(following, 5)
    assert copies.read == ["FOUR", *3 * ["LACKING"]]
    await following.close()


async def test_a_copy_that_gets_no_more_is_left_though_its_server_goes_on_to_beat(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that lags behind: its consumer does not know that there is more."""
    monkeypatch.setattr(nats_stillness, "_STILL_S", 0.3)
    await copies.make("FOUR", 5)
    following = await copies.follow("FOUR", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == ["FOUR", WHOLE]
    await following.close()


async def test_a_new_consumer_that_brings_nothing_is_looked_behind_sooner(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the second one."""
    monkeypatch.setattr(nats_stillness, "_NEW_S", 0.1)
    monkeypatch.setattr(nats_stillness, "_STILL_S", 10 * DEADLINE_S)
    monkeypatch.setattr(nats_following, "_ON_ITS_WAY_S", 0.1)
    await copies.make("NONE", 1, 2, 3, 4, 5)
    following = await copies.follow("NONE", "NONE", WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == ["NONE", "NONE", WHOLE]
    await following.close()


async def test_a_server_whose_copy_lags_is_not_waited_for_again(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Consumers are placed by chance: one that is on it again is left at once, some times."""
    monkeypatch.setattr(nats_stillness, "_NEW_S", 0.1)
    monkeypatch.setattr(nats_following, "_ON_ITS_WAY_S", 0.1)
    await copies.make("NONE", 1, 2, 3, 4, 5)
    following = await copies.follow("NONE", "NONE", "NONE", "NONE", WHOLE)
    await copies.until_asked(1)
    copies.leader_answers.clear()  # once is enough
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    assert copies.read == [*4 * ["NONE"], WHOLE]
    await following.close()


async def test_where_all_copies_lag_one_is_followed_nevertheless(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_often(monkeypatch)
    await copies.make("NONE", 1, 2, 3, 4, 5)
    following = await copies.follow("NONE")
    await copies.until_asked(3)
    copies.next = [WHOLE]
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await following.close()


async def test_a_copy_that_has_all_there_is_is_not_left(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_often(monkeypatch)
    following = await copies.follow(WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await copies.until_asked(10)
    await copies.append(5)
    assert await read(following, 6) == [6]
    assert copies.read == [WHOLE]
    await following.close()


async def test_a_copy_whose_messages_are_gone_everywhere_is_not_left(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a queue that nobody needed for longer than it keeps anything: it still counts them."""
    ask_often(monkeypatch)
    copies.leads = WHOLE
    await copies.purge(WHOLE)
    following = await copies.follow(WHOLE)
    await copies.until_asked(5)
    assert copies.read == [WHOLE]
    await following.close()


async def test_a_new_consumer_is_made_while_the_streams_leader_is_asked(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_often(monkeypatch)
    copies.leader_answers.clear()
    following = await copies.follow(WHOLE)
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await copies.until_asked(1)
    following.reset()
    await copies.until_made(2)
    await following.close()


def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_stillness, "_NEW_S", 0.02)
    monkeypatch.setattr(nats_stillness, "_STILL_S", 0.02)
    monkeypatch.setattr(nats_stillness, "_STILL_S_MAX", 0.02)
    monkeypatch.setattr(nats_following, "_ON_ITS_WAY_S", 0.02)


async def test_what_nobody_takes_is_bounded_however_often_a_new_consumer_is_made(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_following, "_BUFFERED_BYTES_MAX", 2 * len(b"frame"))
    following = await copies.follow(WHOLE)
    copies.answers_after = 2
    for made in (2, 3, 4):
        following.reset()
        await copies.until_made(made)
        await copies.until_copied(WHOLE)  # so long, what the consumer delivers comes too
    assert following.backlog == 2
    assert await read(following, 5) == [1, 2, 3, 4, 5]
    await following.close()


async def test_who_takes_nothing_is_not_without_a_consumer(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beats are not heard while there is no room; another's silence tells how long."""
    other = Copies(copies.broker)
    copies.answers_after = 5
    following = await copies.follow(WHOLE)
    also = await other.follow(WHOLE)
    assert await read(also, 5) == [1, 2, 3, 4, 5]
    monkeypatch.setattr(nats_following, "_BUFFERED_BYTES_MAX", 5 * len(b"frame"))
    monkeypatch.setattr(nats_following, "_SILENCE_S", 0.05)
    following.reset()
    also.reset()
    await other.until_made(6)
    assert copies.read == 2 * [WHOLE]
    await following.close()
    await also.close()
