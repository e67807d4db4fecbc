"""What the broker port promises about following a stream, asked of every implementation."""

import asyncio

import pytest

from broker.port import (
    BrokerUnfit,
    StoredMessage,
)
from tests.broker.followed_journal import JOURNAL, JOURNAL_SUBJECT, append, read, take
from tests.broker.implementations import Connect


async def test_a_following_gives_what_is_there_and_what_comes(connect: Connect) -> None:
    broker, other = await connect(), await connect()
    await append(broker, b"a", 0)
    await append(broker, b"b", 1)
    following = await broker.follow(JOURNAL, after=None)
    assert [m.data for m in await take(following, 2)] == [b"a", b"b"]
    taking = asyncio.create_task(take(following, 2))
    await append(other, b"c", 2)
    await append(other, b"d", 3)
    messages = await taking
    assert [(m.sequence, m.data) for m in messages] == [(3, b"c"), (4, b"d")]
    assert following.backlog == 0


async def test_a_message_is_the_same_however_it_is_read(connect: Connect) -> None:
    """Sequence and timestamp identify it, so both must agree to the nanosecond."""
    broker = await connect()
    for at in range(20):
        await append(broker, b"x", at)
    for message in await read(broker, 20):
        assert message == await broker.stored_message(JOURNAL, message.sequence)


async def test_a_following_goes_on_after_a_message(connect: Connect) -> None:
    broker = await connect()
    for at in range(5):
        await append(broker, b"%d" % at, at)
    third = await broker.stored_message(JOURNAL, 3)
    following = await broker.follow(JOURNAL, after=third)
    assert [m.sequence for m in await take(following, 2)] == [4, 5]


@pytest.mark.parametrize("sequence", [2, 9])
async def test_a_stream_that_rewound_is_noticed(connect: Connect, sequence: int) -> None:
    """It holds another message where `after` was, or none at all."""
    broker = await connect()
    for at in range(3):
        await append(broker, b"%d" % at, at)
    lost = StoredMessage(sequence, 1_600_000_000_000_000_000, JOURNAL_SUBJECT, b"lost")
    following = await broker.follow(JOURNAL, after=lost, may_rewind=True)
    assert [m.sequence for m in await take(following, 3)] == [1, 2, 3]
    with pytest.raises(BrokerUnfit):
        await take(await broker.follow(JOURNAL, after=lost), 1)


async def test_a_closed_following_ends(connect: Connect) -> None:
    broker = await connect()
    following = await broker.follow(JOURNAL, after=None)
    taking = asyncio.create_task(take(following, 1))
    await broker.stream_state(JOURNAL)
    await following.close()
    assert await taking == []


async def test_an_iteration_that_was_left_is_taken_up_again_where_it_was(connect: Connect) -> None:
    broker = await connect()
    following = await broker.follow(JOURNAL, after=None)
    for at in range(200):
        await append(broker, b"x", at)
    while following.backlog < 200:  # noqa: ASYNC110  # nothing tells of a backlog
        await asyncio.sleep(0.001)
    first = await take(following, 1)
    assert following.backlog == 200 - len(first)
    rest = await take(following, 200 - len(first))
    assert [m.sequence for m in first + rest] == list(range(1, 201))


async def test_a_long_stream_is_followed_without_a_gap(connect: Connect) -> None:
    broker = await connect()
    answers = [
        await broker.append(JOURNAL_SUBJECT, bytes(200), expected_last_sequence=at)
        for at in range(6_000)
    ]
    await asyncio.gather(*answers)
    messages = await read(broker, 6_000)
    assert [m.sequence for m in messages] == list(range(1, 6_001))


async def test_a_message_that_is_followed_can_be_read_by_its_sequence(connect: Connect) -> None:
    """Nobody is handed a message of a journal before it is stored."""
    broker, reader = await connect(), await connect()
    following = await reader.follow(JOURNAL, after=None)
    for at in range(5):
        await broker.append(JOURNAL_SUBJECT, b"%d" % at, expected_last_sequence=at)
    for message in await take(following, 5):
        assert await reader.stored_message(JOURNAL, message.sequence) == message
