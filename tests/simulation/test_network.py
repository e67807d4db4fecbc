"""The network of the broker in memory when there is a weather: late, lossy, and still TCP."""

import asyncio
from collections.abc import Coroutine, Sequence
from itertools import count
from random import Random
from typing import Any

import pytest

from broker.memory_broker import MemoryServer
from broker.port import AppendRefused, AppendUnknown, NoResponse
from contracts.subjects import command_subject, journal_stream, journal_subject, queue_stream
from simulation.loop import VirtualLoop

JOURNAL, JOURNAL_SUBJECT = journal_stream(0), journal_subject(0)


class Climate:
    """A weather that a test sets."""

    def __init__(self) -> None:
        self.hops = Random(7)
        self.copies: Sequence[float] = (0.0,)
        self.is_deaf = False
        self.left = 0
        self.queue_left: int | None = None

    def hop_s(self) -> float:
        return self.hops.random()

    def disk_s(self) -> float:
        return 0.5

    def copies_s(self) -> Sequence[float]:
        return self.copies

    def loses_acknowledgement(self) -> bool:
        return self.is_deaf

    def survivors(self, count: int) -> int:
        return min(count, self.left)

    def queue_survivors(self, count: int) -> int | None:  # noqa: ARG002  # the port's
        return self.queue_left


class Net:
    """A server of one partition in that weather."""

    def __init__(self) -> None:
        times = count(1)
        self.weather = Climate()
        self.server = MemoryServer(lambda: next(times), self.weather)
        self.server.add_stream(JOURNAL, JOURNAL_SUBJECT)
        self.server.add_stream(queue_stream(0), command_subject(0))

    def stored(self, stream: str) -> list[bytes]:
        return [message.data for message in self.server.streams[stream].messages]


def play(work: Coroutine[Any, Any, None]) -> None:
    loop = VirtualLoop(1_000)
    try:
        loop.run_until_complete(work)
    finally:
        loop.close()


async def sent(net: Net, number: int) -> list[asyncio.Future[int]]:
    """Appends of one connection, in flight."""
    broker = net.server.connect()
    return [
        await broker.append(JOURNAL_SUBJECT, b"%d" % at, expected_last_sequence=at)
        for at in range(number)
    ]


def test_appends_of_one_connection_arrive_in_their_order() -> None:
    async def work() -> None:
        net = Net()
        assert await asyncio.gather(*(await sent(net, 20))) == list(range(1, 21))
        assert net.stored(JOURNAL) == [b"%d" % at for at in range(20)]

    play(work())


def test_an_append_is_acknowledged_only_when_it_is_durable() -> None:
    async def work() -> None:
        net = Net()
        (answer,) = await sent(net, 1)
        await asyncio.sleep(0.4)
        assert not net.stored(JOURNAL)
        await answer
        assert net.stored(JOURNAL) == [b"0"]

    play(work())


def test_an_append_whose_acknowledgement_got_lost_is_unknown_and_stored() -> None:
    async def work() -> None:
        net = Net()
        net.weather.is_deaf = True
        (answer,) = await sent(net, 1)
        with pytest.raises(AppendUnknown):
            await answer
        assert net.stored(JOURNAL) == [b"0"]

    play(work())


def test_a_deposed_writers_second_frame_is_accepted_when_the_numbers_match_again() -> None:
    """Its first frame was sent for sequence 1, and somebody else's append came there first."""

    async def work() -> None:
        net = Net()
        old, new = net.server.connect(), net.server.connect()
        old.session.hold(100)
        in_flight = [
            await old.append(JOURNAL_SUBJECT, b"old%d" % at, expected_last_sequence=at)
            for at in range(2)
        ]
        await (await new.append(JOURNAL_SUBJECT, b"new", expected_last_sequence=0))
        outcomes = await asyncio.gather(*in_flight, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [AppendUnknown, AppendUnknown]
        await asyncio.sleep(200)
        assert net.stored(JOURNAL) == [b"new", b"old1"]

    play(work())


@pytest.mark.parametrize("arriving", [0, 1, 3])
def test_of_what_a_dead_process_sent_some_still_arrives(arriving: int) -> None:
    async def work() -> None:
        net = Net()
        broker = net.server.connect()
        for at in range(3):
            await broker.append(JOURNAL_SUBJECT, b"%d" % at, expected_last_sequence=at)
        broker.die(arriving)
        await asyncio.sleep(10)
        assert net.stored(JOURNAL) == [b"%d" % at for at in range(arriving)]

    play(work())


def test_a_crash_of_the_server_loses_what_was_not_acknowledged_and_memory_streams() -> None:
    async def work() -> None:
        net = Net()
        broker = net.server.connect()
        await (await broker.append(JOURNAL_SUBJECT, b"kept", expected_last_sequence=0))
        await broker.publish(command_subject(0), b"command")
        in_flight = [
            await broker.append(JOURNAL_SUBJECT, b"%d" % at, expected_last_sequence=at)
            for at in (1, 2, 3)
        ]
        while len(net.server.streams[JOURNAL].disk) < 2:  # noqa: ASYNC110  # in virtual time
            await asyncio.sleep(0.01)
        net.weather.left = 1
        broker.cut()
        net.server.crash([queue_stream(0)], net.weather)
        assert net.stored(JOURNAL) == [b"kept", b"1"]
        assert queue_stream(0) not in net.server.streams
        outcomes = await asyncio.gather(*in_flight, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {AppendUnknown}

    play(work())


def test_published_messages_may_be_lost_doubled_and_overtaken() -> None:
    async def work() -> None:
        net = Net()
        broker = net.server.connect()
        for data, copies in ((b"lost", ()), (b"late", (30.0,)), (b"twice", (0.0, 10.0))):
            net.weather.copies = copies
            await broker.publish(command_subject(0), data)
        await asyncio.sleep(60)
        assert net.stored(queue_stream(0)) == [b"twice", b"twice", b"late"]

    play(work())


def test_a_following_goes_on_where_it_was_after_a_cut() -> None:
    async def work() -> None:
        net = Net()
        reader = net.server.connect()
        following = await reader.follow(JOURNAL, after=None)
        taken: list[bytes] = []

        async def take() -> None:
            async for messages in following:
                taken.extend(message.data for message in messages)

        taking = asyncio.ensure_future(take())
        appends = await sent(net, 6)
        await appends[2]
        reader.cut()
        await asyncio.gather(*appends[3:])
        reader.mend()
        await asyncio.sleep(5)
        assert taken == [b"%d" % at for at in range(6)]
        await following.close()
        await taking

    play(work())


def test_a_wrong_expectation_is_refused_at_its_arrival() -> None:
    async def work() -> None:
        net = Net()
        broker = net.server.connect()
        answer = await broker.append(JOURNAL_SUBJECT, b"x", expected_last_sequence=3)
        with pytest.raises(AppendRefused):
            await answer

    play(work())


def test_a_question_to_a_server_that_is_cut_off_meanwhile_gets_no_answer() -> None:
    async def work() -> None:
        net = Net()
        broker = net.server.connect()
        asking = asyncio.ensure_future(broker.stream_state(JOURNAL))
        await asyncio.sleep(0)
        broker.cut()
        with pytest.raises(NoResponse):
            await asking

    play(work())


async def test_who_waits_for_a_connection_that_died_leaves_others_their_turn() -> None:
    connection = MemoryServer(lambda: 0).connect()
    connection.cut()
    connection.mend()
    connection.die()
    waiting = asyncio.create_task(connection.connected())
    await asyncio.sleep(1.0)
    assert not waiting.done()
    waiting.cancel()
