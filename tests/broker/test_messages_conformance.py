"""What the broker port promises about messages and requests, asked of every implementation."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from broker.port import (
    Broker,
    NoResponse,
)
from tests.broker.followed_journal import JOURNAL
from tests.broker.implementations import DEADLINE_S, Connect


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


async def test_who_serves_no_more_is_asked_no_more(connect: Connect) -> None:
    """Other members of its group are, and what it was asked before it still answers."""
    client, leaving = await connect(), await connect()
    was_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer_late(_data: bytes) -> bytes:
        was_asked.set()
        await may_answer.wait()
        return b"late"

    serving = await leaving.serve("wallet.qry.0", answer_late, queue="readers")
    await leaving.stream_state(JOURNAL)
    before = asyncio.create_task(client.request("wallet.qry.0", b"", timeout_s=DEADLINE_S))
    await was_asked.wait()
    await serving.end()
    await leaving.stream_state(JOURNAL)
    await _serve(await connect(), "wallet.qry.0", _echo(b"stays "), queue="readers")
    for _ in range(40):
        assert await client.request("wallet.qry.0", b"", timeout_s=DEADLINE_S) == b"stays "
    may_answer.set()
    assert await before == b"late"


async def test_a_request_to_several_gets_the_answer_of_the_first_who_has_one(
    connect: Connect,
) -> None:
    """One of them leaves it to others, one fails, and the rest answer late."""
    client, may_answer = await connect(), asyncio.Event()

    async def pass_on(_data: bytes) -> None:
        return None

    async def fail(_data: bytes) -> bytes:
        raise ValueError("not today")

    async def answer_late(_data: bytes) -> bytes:
        await may_answer.wait()
        return b"late"

    for handler in (pass_on, fail, answer_late, _echo(b"first "), answer_late):
        await _serve(await connect(), "wallet.qry.0.all", handler)
    await _serve(await connect(), "wallet.qry.0", _echo(b"later "))
    answer = await client.request("wallet.qry.0.all", b"one", timeout_s=DEADLINE_S)
    assert answer == b"first one"
    may_answer.set()
    assert await client.request("wallet.qry.0", b"two", timeout_s=DEADLINE_S) == b"later two"


async def test_everybody_answers_a_request_to_all(connect: Connect) -> None:
    client = await connect()
    for name in (b"a", b"b", b"c"):
        await _serve(await connect(), "wallet.status.reader", _echo(name))
    answers = await client.request_all("wallet.status.reader", b"", timeout_s=0.5)
    assert sorted(answers) == [b"a", b"b", b"c"]
    assert await client.request_all("wallet.status.writer", b"", timeout_s=0.2) == []


async def _serve(
    broker: Broker,
    subject: str,
    handler: Callable[[bytes], Awaitable[bytes | None]],
    queue: str = "",
) -> None:
    """Serve, and return when requests arrive there: whatever answers came after it."""
    await broker.serve(subject, handler, queue=queue)
    await broker.stream_state(JOURNAL)


def _echo(prefix: bytes) -> Callable[[bytes], Awaitable[bytes]]:
    async def answer(data: bytes) -> bytes:
        return prefix + data

    return answer
