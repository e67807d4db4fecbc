"""What the broker port promises about streams and connections, asked of every implementation.

The implementations stand in `implementations`.
"""

import asyncio

import pytest

from broker.port import (
    AppendRefused,
    BrokerFault,
    BrokerUnfit,
    Disconnected,
    NoResponse,
    NotTaken,
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
from tests.broker.followed_journal import JOURNAL, JOURNAL_SUBJECT, append, read, take
from tests.broker.implementations import Connect


async def test_an_append_gives_the_stream_sequence(connect: Connect) -> None:
    broker = await connect()
    assert (await broker.stream_state(JOURNAL)).last_sequence == 0
    assert [await append(broker, data, at) for at, data in enumerate([b"a", b"b"])] == [1, 2]
    assert await broker.stream_state(JOURNAL) == StreamState(first_sequence=1, last_sequence=2)


async def test_appends_in_flight_are_stored_in_their_order(connect: Connect) -> None:
    broker = await connect()
    answers = [
        await broker.append(JOURNAL_SUBJECT, b"%d" % at, expected_last_sequence=at)
        for at in range(50)
    ]
    assert await asyncio.gather(*answers) == list(range(1, 51))
    assert [m.data for m in await read(broker, 50)] == [b"%d" % at for at in range(50)]


async def test_an_append_that_expects_another_sequence_is_refused(connect: Connect) -> None:
    broker = await connect()
    await append(broker, b"a", 0)
    for wrong in (0, 2, 7):
        with pytest.raises(AppendRefused):
            await append(broker, b"x", wrong)
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
    await append(broker, b"somebody else's", 0)
    answers = [
        await broker.append(JOURNAL_SUBJECT, b"x", expected_last_sequence=at) for at in (0, 2, 3)
    ]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [AppendRefused] * 3


async def test_a_message_published_to_a_streams_subject_is_stored(connect: Connect) -> None:
    broker = await connect()
    await broker.publish(command_subject(0), b"command")
    following = await broker.follow(queue_stream(0), after=None)
    assert [m.data for m in await take(following, 1)] == [b"command"]


async def test_a_queue_tells_a_proxys_frame_from_a_writers_by_its_subject(
    connect: Connect,
) -> None:
    broker = await connect()
    subjects = [command_subject(0), step_subject(0), command_subject(0)]
    for subject in subjects:
        await broker.publish(subject, b"frame")
    messages = await take(await broker.follow(queue_stream(0), after=None), 3)
    assert [message.subject for message in messages] == subjects
    for message in messages:
        assert await broker.stored_message(queue_stream(0), message.sequence) == message


async def test_the_coordinator_has_a_queue_of_steps_and_a_journal(connect: Connect) -> None:
    broker = await connect()
    await broker.publish(step_subject(COORDINATOR), b"step")
    await broker.publish(command_subject(0), b"not for it")
    await broker.publish(step_subject(0), b"not for it either")
    following = await broker.follow(queue_stream(COORDINATOR), after=None)
    assert [m.data for m in await take(following, 1)] == [b"step"]
    assert (await broker.stream_state(queue_stream(COORDINATOR))).last_sequence == 1
    subject = journal_subject(COORDINATOR)
    assert await (await broker.append(subject, b"frame", expected_last_sequence=0)) == 1
    assert (await broker.stream_state(journal_stream(COORDINATOR))).last_sequence == 1


async def test_a_stored_message_is_read_by_its_sequence(connect: Connect) -> None:
    broker = await connect()
    await append(broker, b"a\x00\xff", 0)
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
    await append(broker, b"a", 0)
    await broker.provide_streams(1)
    assert (await broker.stream_state(JOURNAL)).last_sequence == 1
    with pytest.raises(BrokerUnfit):
        await (await connect()).provide_streams(2)


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
    assert [m.data for m in await take(following, 100)] == [b"%d" % at for at in range(100)]


# --- what a simulation must not make nicer than it is ---


async def test_an_append_is_accepted_when_its_number_matches_again(connect: Connect) -> None:
    """A deposed writer's second frame in flight, after exactly one append of its successor."""
    old, new = await connect(), await connect()
    await append(new, b"new", 0)
    first, second = [
        await old.append(JOURNAL_SUBJECT, b"old%d" % at, expected_last_sequence=at)
        for at in range(2)
    ]
    with pytest.raises(AppendRefused):
        await first
    assert await second == 2
    assert [m.data for m in await read(new, 2)] == [b"new", b"old1"]


async def test_the_same_message_is_stored_as_often_as_it_is_published(connect: Connect) -> None:
    broker = await connect()
    for _ in range(3):
        await broker.publish(command_subject(0), b"again")
    following = await broker.follow(queue_stream(0), after=None)
    assert [m.data for m in await take(following, 3)] == [b"again"] * 3
