"""The following over NATS in races that no server can be made to run on purpose."""

import asyncio
import json
from pathlib import Path

import pytest

from broker.nats_broker import NatsBroker
from broker.nats_following import NatsFollowing
from broker.port import BrokerFault, StoredMessage
from contracts.subjects import command_subject, journal_stream, journal_subject, queue_stream
from tests.broker.implementations import DEADLINE_S, over_nats

pytestmark = pytest.mark.server

COMMANDS = command_subject(0)


async def test_messages_that_come_while_the_last_one_is_checked_are_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stood still for seconds: the consumer is made anew while the old one lives."""
    async with over_nats(tmp_path) as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        await broker.provide_streams(1)
        stored_message, checked = broker._message_now, asyncio.Event()  # noqa: SLF001  # the race is inside

        async def slowly(stream: str, sequence: int) -> StoredMessage | None:
            message = await stored_message(stream, sequence)
            await broker.publish(COMMANDS, b"two")
            async with asyncio.timeout(DEADLINE_S):
                while not following.backlog:  # noqa: ASYNC110  # nothing tells of a backlog
                    await asyncio.sleep(0.001)
            checked.set()
            return message

        monkeypatch.setattr(broker, "_message_now", slowly)
        await broker.publish(COMMANDS, b"one")
        following = await broker.follow(queue_stream(0), after=None, may_rewind=True)
        assert isinstance(following, NatsFollowing)
        async with asyncio.timeout(DEADLINE_S):
            async for _ in following:
                break
            following.reset()
            await checked.wait()
            read: list[int] = []
            async for messages in following:
                read += [message.sequence for message in messages]
                if read[-1] == 3:
                    break
                await broker.publish(COMMANDS, b"three")
        assert read == [2, 3]
        await following.close()
        await broker.close()


async def test_a_consumer_that_the_server_made_and_told_of_too_late_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is slow is asked again, and says then that there is such a consumer."""
    async with over_nats(tmp_path) as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        await broker.provide_streams(1)
        await _append(broker, 0)
        request, errors = broker.request, list[int]()

        async def twice(subject: str, data: bytes, *, timeout_s: float) -> bytes:
            answer = await request(subject, data, timeout_s=timeout_s)
            if not subject.startswith("$JS.API.CONSUMER.CREATE."):
                return answer
            answer = await request(subject, data, timeout_s=timeout_s)
            errors.append(json.loads(answer).get("error", {}).get("err_code"))
            return answer

        monkeypatch.setattr(broker, "request", twice)
        following = await broker.follow(journal_stream(0), after=None)
        async with asyncio.timeout(DEADLINE_S):
            async for messages in following:
                assert [message.sequence for message in messages] == [1]
                break
        assert errors == [10148]
        await following.close()
        await broker.close()


async def test_nobody_waits_until_a_consumer_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the servers choose a leader, none answers; the consumer ends once one does."""
    async with over_nats(tmp_path) as connect:
        broker, other = await connect(), await connect()
        assert isinstance(broker, NatsBroker)
        assert isinstance(other, NatsBroker)
        await broker.provide_streams(1)
        await _append(broker, 0)
        ended = asyncio.Event()
        await other.subscribe("$JS.EVENT.ADVISORY.CONSUMER.DELETED.>", lambda _: ended.set())
        await other.stream_state(journal_stream(0))
        request = broker.request

        async def unanswered(subject: str, data: bytes, *, timeout_s: float) -> bytes:
            if "CONSUMER.DELETE" in subject:
                await asyncio.Event().wait()
            return await request(subject, data, timeout_s=timeout_s)

        monkeypatch.setattr(broker, "request", unanswered)
        following = await broker.follow(journal_stream(0), after=None)
        async with asyncio.timeout(DEADLINE_S):
            await following.close()
            await ended.wait()
        await broker.close()
        await other.close()


async def test_a_following_that_can_not_begin_leaves_nothing_behind(tmp_path: Path) -> None:
    """A consumer that is made too late would be kept alive by who still listens to it."""
    async with over_nats(tmp_path) as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        await broker.provide_streams(1)
        await (await broker.follow(journal_stream(0), after=None)).close()
        subscribed = set(broker._client._subs)  # noqa: SLF001  # nothing else tells
        with pytest.raises(BrokerFault):
            await broker.follow(journal_stream(1), after=None)
        assert set(broker._client._subs) == subscribed  # noqa: SLF001  # likewise
        await broker.close()


async def _append(broker: NatsBroker, last: int) -> None:
    await (await broker.append(journal_subject(0), b"frame", expected_last_sequence=last))
