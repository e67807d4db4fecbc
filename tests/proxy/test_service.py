"""Commands that the gateway sends, and what becomes of those who wait for them."""

import asyncio
from itertools import count
from pathlib import Path

import pytest

from contracts.frames import COMMAND_FRAME
from contracts.limits import HELD_REQUESTS_MAX
from contracts.rejections import Rejection
from contracts.subjects import (
    command_subject,
    journal_stream,
    queue_stream,
    result_subject,
)
from proxy.ports import NoRoom, Unavailable
from proxy.service.gateway import BrokerGateway
from tests.proxy.world import (
    DEADLINE_S,
    WAIT_MS,
    World,
    opening,
    stored,
    submit,
    transfer,
    turns,
)

pytestmark = pytest.mark.virtual_time


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
