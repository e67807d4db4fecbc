"""The writer's loop over the in-memory broker: every fault ends in a rebuilt, unbroken journal."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.port import AppendUnknown, Disconnected, StreamState
from contracts.commands import Command, OpenAccount, Transfer
from contracts.coordination import Step
from contracts.events import (
    AccountOpened,
    EpochOpened,
    Event,
    StepTaken,
    TransferCompleted,
    TransferFinished,
    TransferRepeated,
    TransferStarted,
)
from contracts.frames import STEP_FRAME, StepFrame
from contracts.parties import COORDINATOR
from contracts.steps import StepAnswered, TakeStep
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
from writer.core.rules import Outgoing
from writer.service import standby
from writer.service.snapshots import Recovered, Snapshots

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
        assert old.machine is not None
        replayed = Machine(0, Partition(0, world.slots))
        for message in world.server.streams[journal_stream(0)].messages:
            replayed.replay(message.data)
        assert state_of(old.machine) == state_of(replayed)


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


# --- steps to and from other parties ---


@pytest.fixture
def divided(tmp_path: Path) -> World:
    """Of 2 partitions bar and baz are in 0, whose writer runs, and foo in 1."""
    return World(tmp_path, partition_count=2)


DIVIDED: list[Command] = [OpenAccount("bar", "USD", 100)]
CROSSING = Transfer("bar", "foo", 10, "USD", "t1")
CREDIT = TakeStep(Step.CREDIT, "foo", "bar", 10, "USD", "t1", 1)
"""Of a transfer the other way."""


async def test_a_step_leaves_once_its_event_is_durable_and_again_until_it_is_answered(
    divided: World,
) -> None:
    durable: list[int] = []
    asked = await divided.credits(durable)
    async with divided.writer():
        await divided.send(*DIVIDED, CROSSING)
        async with asyncio.timeout(DEADLINE_S):
            first, second = await asked.get(), await asked.get()
        assert first == second == TakeStep(Step.CREDIT, "bar", "foo", 10, "USD", "t1", 0)
        assert durable[0] == 1
        await divided.step(StepAnswered(Step.CREDIT, "bar", "t1", None))
        await divided.until(TransferFinished, 1)


async def test_a_new_writer_asks_again_what_nobody_answered(divided: World) -> None:
    async with divided.writer("first"):
        await divided.send(*DIVIDED, CROSSING)
        await divided.until(TransferStarted, 1)
    asked = await divided.credits([])
    async with divided.writer("second"), asyncio.timeout(DEADLINE_S):
        assert (await asked.get()).transaction_id == "t1"


async def test_steps_that_a_reign_did_not_get_to_wait_for_the_next_in_the_queue(
    divided: World,
) -> None:
    """They came from another party of the process, not by the queue, and would be missed."""
    async with divided.writer("old"):
        await divided.send(*DIVIDED)
        await divided.until(AccountOpened, 1)
        divided.mandates["old"].withdraw()
        assert divided.steps is not None
        divided.steps.send([Outgoing(0, CREDIT)], at_ms=0)
        async with asyncio.timeout(DEADLINE_S):
            await divided.came_free.wait()
        assert not steps_taken(divided)
        async with divided.writer("new"):
            await divided.until(StepTaken, 1)


async def test_steps_whose_frame_was_lost_are_decided_by_the_next_reign(
    divided: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = divided.server.connect()
    append, is_lost = connection.append, asyncio.Event()

    async def lost(*_arguments: object, **_options: object) -> asyncio.Future[int]:
        is_lost.set()
        monkeypatch.setattr(connection, "append", append)
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_exception(AppendUnknown("nobody answered"))
        return acknowledged

    async with divided.writer("w", connection, kind=LoneMandate):
        await divided.send(*DIVIDED)
        await divided.until(AccountOpened, 1)
        monkeypatch.setattr(connection, "append", lost)
        assert divided.steps is not None
        divided.steps.send([Outgoing(0, CREDIT)], at_ms=0)
        await divided.until(StepTaken, 1)
        assert is_lost.is_set()


async def test_steps_whose_frame_could_not_be_sent_are_decided_by_the_next_reign(
    divided: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = divided.server.connect()
    append = connection.append

    async def unsent(*_arguments: object, **_options: object) -> asyncio.Future[int]:
        monkeypatch.setattr(connection, "append", append)
        raise Disconnected("nothing was sent")

    async with divided.writer("w", connection, kind=LoneMandate):
        await divided.send(*DIVIDED)
        await divided.until(AccountOpened, 1)
        monkeypatch.setattr(connection, "append", unsent)
        assert divided.steps is not None
        divided.steps.send([Outgoing(0, CREDIT)], at_ms=0)
        await divided.until(StepTaken, 1)


async def test_steps_whose_reign_a_lost_connection_ended_leave_with_the_next_one(
    divided: World,
) -> None:
    connection = divided.server.connect()
    async with divided.writer("w", connection, kind=LoneMandate):
        await divided.send(*DIVIDED)
        await divided.until(AccountOpened, 1)
        party = divided.party
        assert divided.steps is not None
        assert party is not None
        divided.steps.send([Outgoing(0, CREDIT)], at_ms=0)
        while not party.in_flight:  # noqa: ASYNC110  # nobody else needs to be told
            await asyncio.sleep(0)
        connection.cut()
        await asyncio.sleep(1.0)
        connection.mend()
        await divided.until(EpochOpened, 2)
        await divided.until(StepTaken, 1)


async def test_steps_that_wait_for_a_lock_go_on_to_wait_in_the_next_reign(divided: World) -> None:
    def step(kind: Step, name: str) -> Outgoing:
        return Outgoing(0, TakeStep(kind, "foo", "bar", 10, "USD", name, COORDINATOR))

    async with divided.writer("old"):
        await divided.send(*DIVIDED)
        await divided.until(AccountOpened, 1)
        steps, old = divided.steps, divided.party
        assert steps is not None
        assert old is not None
        steps.send([step(Step.PREPARE_CREDIT, "t1"), step(Step.PREPARE_CREDIT, "t2")], at_ms=0)
        await divided.until(StepTaken, 1)
        assert old.machine is not None
        assert old.machine.waiting_count == 1
        divided.mandates["old"].withdraw()
        async with asyncio.timeout(DEADLINE_S):
            await divided.came_free.wait()
        async with divided.writer("new"):
            steps.send([step(Step.COMMIT_CREDIT, "t1")], at_ms=0)
            await divided.until(StepTaken, 3)


def steps_taken(world: World) -> list[Event]:
    return [event for event in world.events() if isinstance(event, StepTaken)]


async def test_a_step_on_the_commands_subject_counts_for_nothing(divided: World) -> None:
    """Proxies may publish there: a forged credit would make money."""
    forged = StepFrame("proxy", 1, [CREDIT])
    async with divided.writer():
        await divided.send(*DIVIDED)
        await divided.client.publish(command_subject(0), STEP_FRAME.encode(forged))
        await divided.send(OpenAccount("baz", "USD", 0))
        await divided.until(AccountOpened, 2)
    assert not steps_taken(divided)


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
