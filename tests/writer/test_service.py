"""The writer's loop over the in-memory broker: every fault ends in a rebuilt, unbroken journal."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.port import BrokerFault, StreamState
from contracts.commands import OpenAccount
from contracts.events import (
    AccountOpened,
    EpochOpened,
    TransferCompleted,
    TransferRepeated,
)
from contracts.subjects import (
    command_subject,
    journal_stream,
    journal_subject,
    queue_stream,
)
from runtime.process import Unfit
from simulation.states import state_of
from tests.writer.one_party import DEADLINE_S, OPENINGS, LoneMandate, World, transfer
from writer.core.machine import Machine
from writer.core.partition import Partition
from writer.service import standby
from writer.service.snapshots import Recovered, Snapshots
from writer.service.standby import Standby

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def restores(monkeypatch: pytest.MonkeyPatch) -> list[Snapshots[Any]]:
    """Of whom the state was made anew, from snapshots or without any."""
    restores = list[Snapshots[Any]]()
    restore = Snapshots.restore

    async def noted(self: Snapshots[Any], fresh: Callable[[], Machine[Any]]) -> Recovered[Any]:
        restores.append(self)
        return await restore(self, fresh)

    monkeypatch.setattr(Snapshots, "restore", noted)
    return restores


async def test_a_command_frame_becomes_chained_events(world: World) -> None:
    async with world.writer():
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(TransferCompleted, 1)
    assert [type(event) for event in world.events()] == [
        EpochOpened,
        AccountOpened,
        AccountOpened,
        TransferCompleted,
    ]
    source = world.frames()[1].sources[0]
    assert (source.sender_id, source.first_number, source.count) == ("proxy", 1_000, 3)


async def test_a_new_writer_goes_on_where_the_last_one_stopped(world: World) -> None:
    async with world.writer("first"):
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(TransferCompleted, 1)
    await world.send(transfer("t1"), transfer("t2"))
    async with world.writer("second"):
        await world.until(TransferCompleted, 2)
    assert sum(isinstance(event, TransferRepeated) for event in world.events()) == 1
    assert [frame.epoch for frame in world.frames()] == [1, 1, 2, 2]


async def test_a_queue_that_lost_its_messages_is_read_from_its_beginning(world: World) -> None:
    """Its sequences come a second time: skipping up to the named one would lose commands."""
    async with world.writer("first"):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
    world.server.lose_tail(queue_stream(0), 1)
    await world.send(transfer("t1"))
    async with world.writer("second"):
        await world.until(TransferCompleted, 1)


async def test_a_queue_that_rewinds_under_a_writer_is_read_from_its_beginning(
    world: World,
) -> None:
    async with world.writer():
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        world.server.lose_tail(queue_stream(0), 1)
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)


async def test_a_queue_that_vanished_is_made_again_and_costs_one_epoch(world: World) -> None:
    """As after a restart of the server with frames in flight."""
    async with world.writer("first"):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
    world.server.lose_stream(queue_stream(0))
    async with world.writer("second"):
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)
    assert [frame.epoch for frame in world.frames()] == [1, 1, 2, 2]


async def test_a_foreign_append_makes_the_writer_rebuild_and_lose_nothing(world: World) -> None:
    async with world.writer(kind=LoneMandate) as run:
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        await world.client.publish(journal_subject(0), b"no frame at all")
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)
        assert not run.done()
    assert sum(isinstance(event, TransferCompleted) for event in world.events()) == 1


async def test_a_writer_that_was_disconnected_rebuilds_and_loses_nothing(world: World) -> None:
    connection = world.server.connect()
    async with world.writer("w", connection, kind=LoneMandate):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        connection.cut()
        await world.send(transfer("t1"))
        connection.mend()
        await world.send(transfer("t2"))
        await world.until(TransferCompleted, 2)


async def test_a_deposed_writer_leads_no_more_until_it_gets_a_new_mandate(world: World) -> None:
    async with world.writer("old"):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        async with world.writer("new"):
            await world.send(transfer("t1"))
            await world.until(TransferCompleted, 1)
            async with asyncio.timeout(DEADLINE_S):
                await world.mandates["old"].withdrawn.wait()
            await world.send(transfer("t2"))
            await world.until(TransferCompleted, 2)
            assert world.frames()[-1].epoch == 2
        assert not world.mandates["old"].granted.is_set()
        world.mandates["old"].grant()
        await world.send(transfer("t3"))
        await world.until(TransferCompleted, 3)
    assert [frame.epoch for frame in world.frames()][-1] == 3


async def test_a_withdrawn_mandate_ends_the_reign_when_what_was_out_has_landed(
    world: World,
) -> None:
    async with world.writer("old"):
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(AccountOpened, 2)
        world.mandates["old"].withdraw()
        async with asyncio.timeout(DEADLINE_S):
            await world.came_free.wait()
        before = len(world.frames())
        await world.send(transfer("t2"))
        async with world.writer("new"):
            await world.until(TransferCompleted, 2)
        assert {frame.epoch for frame in world.frames()[before:]} == {2}


async def test_who_hands_over_stands_by_with_what_it_has_and_leads_again(
    world: World, restores: list[Snapshots[Any]]
) -> None:
    """Reading all of it again would keep the other parties of its process waiting."""
    async with world.writer("old"):
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(TransferCompleted, 1)
        old = world.party
        world.mandates["old"].withdraw()
        async with asyncio.timeout(DEADLINE_S):
            await world.came_free.wait()
        async with world.writer("new"):
            await world.send(transfer("t2"))
            await world.until(TransferCompleted, 2)
            world.mandates["new"].withdraw()
            await world.mandates["old"].was_ready.wait()
        world.mandates["old"].grant()
        await world.send(transfer("t1"), transfer("t3"))
        await world.until(TransferCompleted, 3)
        assert len(restores) == 2, "of each once"
        assert old is not None
        assert old.reign is not None
        replayed = Machine(0, Partition(0, world.slots))
        for message in world.server.streams[journal_stream(0)].messages:
            replayed.replay(message.data)
        assert state_of(old.reign.machine) == state_of(replayed)


async def test_a_mandate_that_ends_before_its_reign_costs_no_reading(
    world: World, restores: list[Snapshots[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = world.server.connect()
    restore_queue, is_withdrawn = connection.restore_queue, asyncio.Event()
    async with world.writer("w", connection):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        world.mandates["w"].withdraw()
        async with asyncio.timeout(DEADLINE_S):
            await world.came_free.wait()

        async def withdrawn(stream: str) -> None:
            monkeypatch.setattr(connection, "restore_queue", restore_queue)
            world.mandates["w"].withdraw()
            is_withdrawn.set()
            await restore_queue(stream)

        monkeypatch.setattr(connection, "restore_queue", withdrawn)
        world.mandates["w"].grant()
        await is_withdrawn.wait()
        await asyncio.sleep(1.0)
        world.mandates["w"].grant()
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)
        assert len(restores) == 1


async def test_a_mandate_that_ends_before_its_reign_proves_nothing_of_who_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who keeps away after a reign that failed goes on to do so."""
    until_mandate, kept_away_s = Standby.until_mandate, list[float]()

    async def noted(self: Standby[Any], unready_s: float = 0.0) -> tuple[Machine[Any], int]:
        kept_away_s.append(unready_s)
        return await until_mandate(self, unready_s)

    monkeypatch.setattr(Standby, "until_mandate", noted)
    connection = world.server.connect()
    restore_queue = connection.restore_queue

    async def failing(_stream: str) -> None:
        monkeypatch.setattr(connection, "restore_queue", withdrawing)
        raise BrokerFault("not to be had here")

    async def withdrawing(stream: str) -> None:
        monkeypatch.setattr(connection, "restore_queue", restore_queue)
        world.mandates["w"].withdraw()
        await restore_queue(stream)

    async with world.writer("w", connection, kind=LoneMandate), asyncio.timeout(DEADLINE_S):
        monkeypatch.setattr(connection, "restore_queue", failing)
        world.mandates["w"].withdraw()
        await world.came_free.wait()
        world.mandates["w"].grant()
        while len(kept_away_s) < 4:  # noqa: ASYNC110  # nobody else needs to be told
            await asyncio.sleep(0.1)
    assert kept_away_s[:2] == [0.0, 0.0], "its reign ended well"
    assert kept_away_s[2] == kept_away_s[3] > 0.0


async def test_a_machine_whose_reign_failed_is_let_go_before_another_one_is_made(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take hundreds of megabytes."""
    restore, led = Snapshots.restore, list[weakref.ref[Machine[Any]]]()
    are_alive = list[bool]()

    async def noted(self: Snapshots[Any], fresh: Callable[[], Machine[Any]]) -> Recovered[Any]:
        gc.collect()
        are_alive.append(any(each() is not None for each in led))
        return await restore(self, fresh)

    monkeypatch.setattr(Snapshots, "restore", noted)
    async with world.writer("w", kind=LoneMandate):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        led.append(weakref.ref(world.reign.machine))
        world.server.publish(journal_subject(0), b"no frame at all")
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)
    assert are_alive == [False, False]


async def test_who_led_and_failed_or_whose_last_frame_is_not_there_reads_the_journal_anew(
    world: World, restores: list[Snapshots[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = world.server.connect()
    stored_message = connection.stored_message
    async with world.writer("w", connection, kind=LoneMandate):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
        world.server.publish(journal_subject(0), b"no frame at all")
        await world.send(transfer("t1"))
        await world.until(TransferCompleted, 1)
        assert len(restores) == 2

        async def missing(_stream: str, _sequence: int) -> None:
            monkeypatch.setattr(connection, "stored_message", stored_message)

        monkeypatch.setattr(connection, "stored_message", missing)
        world.mandates["w"].withdraw()
        async with asyncio.timeout(DEADLINE_S):
            await world.came_free.wait()
        world.mandates["w"].grant()
        await world.send(transfer("t2"))
        await world.until(TransferCompleted, 2)
        assert len(restores) == 3


async def test_a_journal_shorter_than_its_witness_is_refused_and_left_alone(world: World) -> None:
    async with world.writer("w"):
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(TransferCompleted, 1)
    world.server.lose_tail(journal_stream(0), 1)
    before = len(world.server.streams[journal_stream(0)].messages)
    async with world.writer("w") as run:
        with pytest.raises(Unfit, match="Sequences 2 to 4 are missing"):
            await run
    assert len(world.server.streams[journal_stream(0)].messages) == before


async def test_garbage_in_the_queue_is_dropped_and_the_rest_is_served(world: World) -> None:
    async with world.writer():
        await world.client.publish(command_subject(0), b"\x01garbage")
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(TransferCompleted, 1)


async def test_garbage_that_comes_alone_stops_nobody(world: World) -> None:
    """Whoever may publish commands could otherwise stop a partition with one message."""
    async with world.writer() as run:
        await world.client.publish(command_subject(0), b"\x01garbage")
        for _ in range(50):  # turns of the loop, in which the writer finds nothing to decide
            await asyncio.sleep(0)
        assert not run.done()
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(TransferCompleted, 1)


async def test_a_journal_of_another_history_is_refused_and_left_alone(world: World) -> None:
    async with world.writer("w"):
        await world.send(*OPENINGS, transfer("t1"))
        await world.until(TransferCompleted, 1)
    world.server.lose_tail(journal_stream(0), 2)
    async with world.writer("other"):
        await world.send(*OPENINGS, transfer("t1"), transfer("t2"))
        await world.until(TransferCompleted, 2)
    before = len(world.server.streams[journal_stream(0)].messages)
    async with world.writer("w") as run:
        with pytest.raises(Unfit, match="another history"):
            await run
    assert len(world.server.streams[journal_stream(0)].messages) == before


async def test_ids_that_no_proxy_lets_through_do_not_stop_the_writer(world: World) -> None:
    async with world.writer():
        await world.send(*[OpenAccount("\N{GRINNING FACE}" * 64, "USD", 0)] * 9)
        await world.send(OpenAccount("\u00e9 *.", "USD", 0), *OPENINGS)
        await world.until(AccountOpened, 3)


async def test_a_journal_whose_end_does_not_come_is_followed_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a server whose copy ends early: whoever waits there for ever leads nothing."""
    monkeypatch.setattr(standby, "STANDSTILL_S_MAX", 0.05)
    connection = world.server.connect()
    told, stream_state = asyncio.Event(), connection.stream_state

    async def longer(stream: str) -> StreamState:
        state = await stream_state(stream)
        if told.is_set():
            return state
        told.set()
        return StreamState(state.first_sequence, state.last_sequence + 1)

    monkeypatch.setattr(connection, "stream_state", longer)
    async with asyncio.timeout(DEADLINE_S), world.writer("w", connection, kind=LoneMandate):
        await world.send(*OPENINGS)
        await world.until(AccountOpened, 2)
