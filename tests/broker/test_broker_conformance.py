"""What the broker port promises, asked of every implementation in the port's own words.

The implementations stand in `implementations`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from broker.port import (
    AppendRefused,
    Broker,
    BrokerFault,
    BrokerUnfit,
    Disconnected,
    Following,
    NoResponse,
    NotTaken,
    StoredMessage,
    StreamState,
)
from contracts.parties import COORDINATOR
from contracts.subjects import (
    command_subject,
    journal_stream,
    journal_subject,
    queue_stream,
    step_subject,
)
from tests.broker.implementations import DEADLINE_S, Connect

JOURNAL: Final = journal_stream(0)
JOURNAL_SUBJECT: Final = journal_subject(0)

# --- streams ---


async def test_an_append_gives_the_stream_sequence(connect: Connect) -> None:
    broker = await connect()
    assert (await broker.stream_state(JOURNAL)).last_sequence == 0
    assert [await _append(broker, data, at) for at, data in enumerate([b"a", b"b"])] == [1, 2]
    assert await broker.stream_state(JOURNAL) == StreamState(first_sequence=1, last_sequence=2)


async def test_appends_in_flight_are_stored_in_their_order(connect: Connect) -> None:
    broker = await connect()
    answers = [
        await broker.append(JOURNAL_SUBJECT, b"%d" % at, expected_last_sequence=at)
        for at in range(50)
    ]
    assert await asyncio.gather(*answers) == list(range(1, 51))
    assert [m.data for m in await _read(broker, 50)] == [b"%d" % at for at in range(50)]


async def test_an_append_that_expects_another_sequence_is_refused(connect: Connect) -> None:
    broker = await connect()
    await _append(broker, b"a", 0)
    for wrong in (0, 2, 7):
        with pytest.raises(AppendRefused):
            await _append(broker, b"x", wrong)
    assert (await broker.stream_state(JOURNAL)).last_sequence == 1


async def test_what_is_offered_is_in_the_stream_or_known_not_to_be(connect: Connect) -> None:
    broker = await connect()
    await broker.offer(command_subject(0), b"taken")
    state = await broker.stream_state(queue_stream(0))
    assert state.last_sequence == 1
    with pytest.raises(NotTaken):
        await broker.offer(command_subject(7), b"there is no such queue")


async def test_after_a_refused_append_those_in_flight_behind_it_are_refused(
    connect: Connect,
) -> None:
    broker = await connect()
    await _append(broker, b"somebody else's", 0)
    answers = [
        await broker.append(JOURNAL_SUBJECT, b"x", expected_last_sequence=at) for at in (0, 2, 3)
    ]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [AppendRefused] * 3


async def test_a_message_published_to_a_streams_subject_is_stored(connect: Connect) -> None:
    broker = await connect()
    await broker.publish(command_subject(0), b"command")
    following = await broker.follow(queue_stream(0), after=None)
    assert [m.data for m in await _take(following, 1)] == [b"command"]


async def test_a_queue_tells_a_proxys_frame_from_a_writers_by_its_subject(
    connect: Connect,
) -> None:
    broker = await connect()
    subjects = [command_subject(0), step_subject(0), command_subject(0)]
    for subject in subjects:
        await broker.publish(subject, b"frame")
    messages = await _take(await broker.follow(queue_stream(0), after=None), 3)
    assert [message.subject for message in messages] == subjects
    for message in messages:
        assert await broker.stored_message(queue_stream(0), message.sequence) == message


async def test_the_coordinator_has_a_queue_of_steps_and_a_journal(connect: Connect) -> None:
    broker = await connect()
    await broker.publish(step_subject(COORDINATOR), b"step")
    await broker.publish(command_subject(0), b"not for it")
    await broker.publish(step_subject(0), b"not for it either")
    following = await broker.follow(queue_stream(COORDINATOR), after=None)
    assert [m.data for m in await _take(following, 1)] == [b"step"]
    assert (await broker.stream_state(queue_stream(COORDINATOR))).last_sequence == 1
    subject = journal_subject(COORDINATOR)
    assert await (await broker.append(subject, b"frame", expected_last_sequence=0)) == 1
    assert (await broker.stream_state(journal_stream(COORDINATOR))).last_sequence == 1


async def test_a_stored_message_is_read_by_its_sequence(connect: Connect) -> None:
    broker = await connect()
    await _append(broker, b"a\x00\xff", 0)
    message = await broker.stored_message(JOURNAL, 1)
    assert message is not None
    assert (message.sequence, message.data) == (1, b"a\x00\xff")
    assert message.subject == JOURNAL_SUBJECT
    assert await broker.stored_message(JOURNAL, 0) is None
    assert await broker.stored_message(JOURNAL, 2) is None


async def test_a_stream_that_does_not_exist_is_a_fault(connect: Connect) -> None:
    broker = await connect()
    with pytest.raises(BrokerFault):
        await broker.stream_state("NO_SUCH")


async def test_streams_are_made_once(connect: Connect) -> None:
    """A second call finds what is there; for another number of partitions it refuses."""
    broker = await connect()
    await _append(broker, b"a", 0)
    await broker.provide_streams(1)
    assert (await broker.stream_state(JOURNAL)).last_sequence == 1
    with pytest.raises(BrokerUnfit):
        await (await connect()).provide_streams(2)


# --- following ---


async def test_a_following_gives_what_is_there_and_what_comes(connect: Connect) -> None:
    broker, other = await connect(), await connect()
    await _append(broker, b"a", 0)
    await _append(broker, b"b", 1)
    following = await broker.follow(JOURNAL, after=None)
    assert [m.data for m in await _take(following, 2)] == [b"a", b"b"]
    taking = asyncio.create_task(_take(following, 2))
    await _append(other, b"c", 2)
    await _append(other, b"d", 3)
    messages = await taking
    assert [(m.sequence, m.data) for m in messages] == [(3, b"c"), (4, b"d")]
    assert following.backlog == 0


async def test_a_message_is_the_same_however_it_is_read(connect: Connect) -> None:
    """Sequence and timestamp identify it, so both must agree to the nanosecond."""
    broker = await connect()
    for at in range(20):
        await _append(broker, b"x", at)
    for message in await _read(broker, 20):
        assert message == await broker.stored_message(JOURNAL, message.sequence)


async def test_a_following_goes_on_after_a_message(connect: Connect) -> None:
    broker = await connect()
    for at in range(5):
        await _append(broker, b"%d" % at, at)
    third = await broker.stored_message(JOURNAL, 3)
    following = await broker.follow(JOURNAL, after=third)
    assert [m.sequence for m in await _take(following, 2)] == [4, 5]


@pytest.mark.parametrize("sequence", [2, 9])
async def test_a_stream_that_rewound_is_noticed(connect: Connect, sequence: int) -> None:
    """It holds another message where `after` was, or none at all."""
    broker = await connect()
    for at in range(3):
        await _append(broker, b"%d" % at, at)
    lost = StoredMessage(sequence, 1_600_000_000_000_000_000, JOURNAL_SUBJECT, b"lost")
    following = await broker.follow(JOURNAL, after=lost, may_rewind=True)
    assert [m.sequence for m in await _take(following, 3)] == [1, 2, 3]
    with pytest.raises(BrokerUnfit):
        await _take(await broker.follow(JOURNAL, after=lost), 1)


async def test_a_closed_following_ends(connect: Connect) -> None:
    broker = await connect()
    following = await broker.follow(JOURNAL, after=None)
    taking = asyncio.create_task(_take(following, 1))
    await broker.stream_state(JOURNAL)
    await following.close()
    assert await taking == []


async def test_an_iteration_that_was_left_is_taken_up_again_where_it_was(connect: Connect) -> None:
    broker = await connect()
    following = await broker.follow(JOURNAL, after=None)
    for at in range(200):
        await _append(broker, b"x", at)
    while following.backlog < 200:  # noqa: ASYNC110  # nothing tells of a backlog
        await asyncio.sleep(0.001)
    first = await _take(following, 1)
    assert following.backlog == 200 - len(first)
    rest = await _take(following, 200 - len(first))
    assert [m.sequence for m in first + rest] == list(range(1, 201))


async def test_a_long_stream_is_followed_without_a_gap(connect: Connect) -> None:
    broker = await connect()
    answers = [
        await broker.append(JOURNAL_SUBJECT, bytes(200), expected_last_sequence=at)
        for at in range(6_000)
    ]
    await asyncio.gather(*answers)
    messages = await _read(broker, 6_000)
    assert [m.sequence for m in messages] == list(range(1, 6_001))


# --- messages and requests ---


async def test_every_subscriber_gets_every_message_in_order(connect: Connect) -> None:
    sender, received, complete = await connect(), dict[int, list[bytes]](), asyncio.Event()
    sent = [b"%d" % number for number in range(100)]

    def note(number: int, data: bytes) -> None:
        received[number].append(data)
        if all(len(messages) == len(sent) for messages in received.values()):
            complete.set()

    for number in range(2):
        received[number] = []
        subscriber = await connect()
        await subscriber.subscribe("wallet.res.p", lambda data, n=number: note(n, data))  # type: ignore[misc] # the default binds it
        await subscriber.stream_state(JOURNAL)
    for data in sent:
        await sender.publish("wallet.res.p", data)
    await complete.wait()
    assert received == {0: sent, 1: sent}


async def test_a_subscription_that_ended_brings_nothing_more(connect: Connect) -> None:
    sender, subscriber, received = await connect(), await connect(), dict[str, list[bytes]]()
    begun, complete = asyncio.Event(), asyncio.Event()

    def note(name: str, data: bytes) -> None:
        received.setdefault(name, []).append(data)
        if len(received) == 2:
            begun.set()
        if received.get("kept") == [b"1", b"2"] and len(received.get("later", ())) == 1:
            complete.set()

    ended = await subscriber.subscribe("wallet.res.p", lambda data: note("ended", data))
    await subscriber.subscribe("wallet.res.p", lambda data: note("kept", data))
    await subscriber.stream_state(JOURNAL)
    await sender.publish("wallet.res.p", b"1")
    await begun.wait()
    await ended.end()
    await ended.end()  # once more changes nothing
    await subscriber.subscribe("wallet.res.p", lambda data: note("later", data))
    await subscriber.stream_state(JOURNAL)
    await sender.publish("wallet.res.p", b"2")
    await complete.wait()
    assert received == {"ended": [b"1"], "kept": [b"1", b"2"], "later": [b"2"]}


async def test_what_a_handler_raises_is_raised_to_who_waits_for_the_end(connect: Connect) -> None:
    """A process does, so a bug ends it rather than one message."""
    sender, subscriber = await connect(), await connect()

    def stumble(data: bytes) -> None:
        raise ValueError(data)

    await subscriber.subscribe("wallet.res.p", stumble)
    await subscriber.stream_state(JOURNAL)
    await sender.publish("wallet.res.p", b"1")
    with pytest.raises(ValueError, match="1"):
        async with asyncio.timeout(DEADLINE_S):
            await subscriber.closed()


async def test_a_request_gets_its_answer(connect: Connect) -> None:
    server, client = await connect(), await connect()
    await _serve(server, "wallet.qry.0", _echo(b"echo "))
    answers = await asyncio.gather(
        *(client.request("wallet.qry.0", b"%d" % at, timeout_s=DEADLINE_S) for at in range(50))
    )
    assert answers == [b"echo %d" % at for at in range(50)]


async def test_a_request_that_nobody_answers_says_so(connect: Connect) -> None:
    """Nobody is there, somebody takes too long, somebody fails."""
    server, client = await connect(), await connect()
    with pytest.raises(NoResponse):
        await client.request("wallet.qry.0", b"", timeout_s=0.2)

    async def take_too_long(_data: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def fail(_data: bytes) -> bytes:
        raise ValueError("not today")

    await _serve(server, "wallet.qry.1", take_too_long)
    await _serve(server, "wallet.qry.2", fail)
    for subject in ("wallet.qry.1", "wallet.qry.2"):
        with pytest.raises(NoResponse):
            await client.request(subject, b"", timeout_s=0.2)


async def test_requests_are_answered_many_at_a_time(connect: Connect) -> None:
    server, client, release = await connect(), await connect(), asyncio.Event()

    async def answer(data: bytes) -> bytes:
        if data == b"slow":
            await release.wait()
        return data

    await _serve(server, "wallet.qry.0", answer)
    slow = asyncio.create_task(client.request("wallet.qry.0", b"slow", timeout_s=DEADLINE_S))
    assert await client.request("wallet.qry.0", b"quick", timeout_s=DEADLINE_S) == b"quick"
    assert not slow.done()
    release.set()
    assert await slow == b"slow"


async def test_a_request_goes_to_one_member_of_a_queue_group(connect: Connect) -> None:
    client, taken = await connect(), list[str]()

    def member(name: str) -> Callable[[bytes], Awaitable[bytes]]:
        async def answer(_data: bytes) -> bytes:
            taken.append(name)
            return name.encode()

        return answer

    for name in ("a", "b"):
        await _serve(await connect(), "wallet.qry.0", member(name), queue="readers")
    for _ in range(40):
        answer = await client.request("wallet.qry.0", b"", timeout_s=DEADLINE_S)
        assert answer.decode() == taken[-1]
    assert len(taken) == 40
    assert set(taken) == {"a", "b"}


async def test_everybody_answers_a_request_to_all(connect: Connect) -> None:
    client = await connect()
    for name in (b"a", b"b", b"c"):
        await _serve(await connect(), "wallet.status.reader", _echo(name))
    answers = await client.request_all("wallet.status.reader", b"", timeout_s=0.5)
    assert sorted(answers) == [b"a", b"b", b"c"]
    assert await client.request_all("wallet.status.writer", b"", timeout_s=0.2) == []


# --- the connection's end ---


async def test_a_closed_connection_sends_nothing(connect: Connect) -> None:
    broker = await connect()
    assert broker.is_connected
    await broker.close()
    assert not broker.is_connected
    await broker.closed()
    with pytest.raises(Disconnected):
        await broker.publish("wallet.res.p", b"")
    with pytest.raises(Disconnected):
        await broker.append(JOURNAL_SUBJECT, b"", expected_last_sequence=0)
    with pytest.raises(NoResponse):
        await broker.request("wallet.qry.0", b"", timeout_s=0.2)


async def test_what_was_published_before_a_close_is_sent(connect: Connect) -> None:
    broker, other = await connect(), await connect()
    for at in range(100):
        await broker.publish(command_subject(0), b"%d" % at)
    await broker.close()
    following = await other.follow(queue_stream(0), after=None)
    assert [m.data for m in await _take(following, 100)] == [b"%d" % at for at in range(100)]


# --- what a simulation must not make nicer than it is ---


async def test_an_append_is_accepted_when_its_number_matches_again(connect: Connect) -> None:
    """A deposed writer's second frame in flight, after exactly one append of its successor."""
    old, new = await connect(), await connect()
    await _append(new, b"new", 0)
    first, second = [
        await old.append(JOURNAL_SUBJECT, b"old%d" % at, expected_last_sequence=at)
        for at in range(2)
    ]
    with pytest.raises(AppendRefused):
        await first
    assert await second == 2
    assert [m.data for m in await _read(new, 2)] == [b"new", b"old1"]


async def test_the_same_message_is_stored_as_often_as_it_is_published(connect: Connect) -> None:
    broker = await connect()
    for _ in range(3):
        await broker.publish(command_subject(0), b"again")
    following = await broker.follow(queue_stream(0), after=None)
    assert [m.data for m in await _take(following, 3)] == [b"again"] * 3


async def test_a_message_that_is_followed_can_be_read_by_its_sequence(connect: Connect) -> None:
    """Nobody is handed a message of a journal before it is stored."""
    broker, reader = await connect(), await connect()
    following = await reader.follow(JOURNAL, after=None)
    for at in range(5):
        await broker.append(JOURNAL_SUBJECT, b"%d" % at, expected_last_sequence=at)
    for message in await _take(following, 5):
        assert await reader.stored_message(JOURNAL, message.sequence) == message


async def _append(broker: Broker, data: bytes, expected: int) -> int:
    return await (await broker.append(JOURNAL_SUBJECT, data, expected_last_sequence=expected))


async def _serve(
    broker: Broker,
    subject: str,
    handler: Callable[[bytes], Awaitable[bytes]],
    queue: str = "",
) -> None:
    """Serve, and return when requests arrive there: whatever answers came after it."""
    await broker.serve(subject, handler, queue=queue)
    await broker.stream_state(JOURNAL)


def _echo(prefix: bytes) -> Callable[[bytes], Awaitable[bytes]]:
    async def answer(data: bytes) -> bytes:
        return prefix + data

    return answer


async def _read(broker: Broker, number: int) -> list[StoredMessage]:
    return await _take(await broker.follow(JOURNAL, after=None), number)


async def _take(following: Following, number: int) -> list[StoredMessage]:
    """The next messages of a following, or fewer if it ends."""
    taken: list[StoredMessage] = []
    async with asyncio.timeout(DEADLINE_S):
        async for messages in following:
            assert messages, "never an empty list"
            taken += messages
            if len(taken) >= number:
                break
    return taken
