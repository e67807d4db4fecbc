"""Steps to and from other parties: when they leave, and what a reign that ends does with them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.memory_broker import MemoryBroker
from broker.port import AppendUnknown, Disconnected
from contracts.commands import Command, OpenAccount, Transfer
from contracts.coordination import Step
from contracts.events import (
    AccountOpened,
    EpochOpened,
    Event,
    StepTaken,
    TransferFinished,
    TransferStarted,
)
from contracts.frames import STEP_FRAME, StepFrame
from contracts.limits import TICK_MS
from contracts.parties import COORDINATOR
from contracts.steps import StepAnswered, TakeStep
from contracts.subjects import (
    command_subject,
    queue_stream,
)
from tests.writer.one_party import DEADLINE_S, LoneMandate, World
from tests.writer.running import never
from writer.core.partition import Partition
from writer.core.rules import Outgoing
from writer.service.mandate import Mandate
from writer.service.reign import Reign
from writer.service.steps import StepSender

pytestmark = pytest.mark.virtual_time


@pytest.fixture
def divided(tmp_path: Path) -> World:
    """Of 2 partitions bar and baz are in 0, whose writer runs, and foo in 1."""
    return World(tmp_path, partition_count=2)


DIVIDED: list[Command] = [OpenAccount("bar", "USD", 100)]
CROSSING = Transfer("bar", "foo", 10, "USD", "t1")
CREDIT = TakeStep(Step.CREDIT, "foo", "bar", 10, "USD", "t1", 1)
"""Of a transfer the other way."""


@asynccontextmanager
async def leading(
    world: World,
    name: str = "w",
    connection: MemoryBroker | None = None,
    kind: type[Mandate] = LoneMandate,
) -> AsyncIterator[tuple[StepSender, Reign[Partition]]]:
    """A writer that leads and has an account, and what sends steps in its process."""
    async with world.writer(name, connection, kind=kind):
        await world.send(*DIVIDED)
        await world.until(AccountOpened, 1)
        assert world.steps is not None
        yield world.steps, world.reign


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


async def test_what_a_queue_without_a_leader_did_not_take_is_asked_again_once_it_has_one(
    divided: World,
) -> None:
    """Not only when it is overdue: the step is lost, and so is the tick by which it would be."""
    asked = await divided.credits([])
    loop = asyncio.get_running_loop()
    async with divided.writer():
        await divided.send(*DIVIDED, CROSSING)
        async with asyncio.timeout(DEADLINE_S):
            first = await asked.get()
        divided.server.lose_leader(queue_stream(0))
        await asyncio.sleep(2 * TICK_MS / 1_000)  # a tick is lost
        elected_s = loop.time()
        divided.server.elect(queue_stream(0))
        async with asyncio.timeout(DEADLINE_S):
            assert await asked.get() == first
        assert loop.time() == elected_s, "virtual time: at once"
        async with asyncio.timeout(DEADLINE_S):
            assert await asked.get() == first
        assert loop.time() < elected_s + 2, "nobody waits for the tick that was lost"


async def test_only_what_went_to_the_queue_that_lost_it_is_asked_again(divided: World) -> None:
    asked = await divided.credits([])
    async with divided.writer(), asyncio.timeout(DEADLINE_S):
        await divided.send(*DIVIDED, CROSSING)
        first = await asked.get()
        divided.server.elect(queue_stream(COORDINATOR))
        await asyncio.sleep(TICK_MS / 10_000)
        assert asked.empty()
        divided.server.elect(queue_stream(1))
        assert await asked.get() == first


async def test_after_a_loss_nothing_is_asked_again_that_is_not_known_to_be_durable(
    divided: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = divided.server.connect()
    asked = await divided.credits([])
    async with leading(divided, "w", connection), asyncio.timeout(DEADLINE_S):
        acknowledge = hold_acknowledgement(connection, monkeypatch)
        await divided.send(CROSSING)
        await divided.until(TransferStarted, 1)
        divided.server.elect(queue_stream(1))
        await asyncio.sleep(TICK_MS / 10_000)
        assert asked.empty()
        acknowledge.set()
        assert (await asked.get()).transaction_id == "t1"


def hold_acknowledgement(
    connection: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> asyncio.Event:
    """Store the next frames and acknowledge them only after the event."""
    append, acknowledge = connection.append, asyncio.Event()

    async def tell(stored: asyncio.Future[int]) -> int:
        await acknowledge.wait()
        return await stored

    async def hold(subject: str, data: bytes, *, expected_last_sequence: int) -> asyncio.Task[int]:
        stored = await append(subject, data, expected_last_sequence=expected_last_sequence)
        return asyncio.create_task(tell(stored))

    monkeypatch.setattr(connection, "append", hold)
    return acknowledge


async def test_steps_that_a_reign_did_not_get_to_wait_for_the_next_in_the_queue(
    divided: World,
) -> None:
    """They came from another party of the process, not by the queue, and would be missed."""
    async with leading(divided, "old", kind=Mandate) as (steps, _):
        divided.mandates["old"].withdraw()
        steps.send([Outgoing(0, CREDIT)], at_ms=0)
        async with asyncio.timeout(DEADLINE_S):
            await divided.came_free.wait()
        assert not steps_taken(divided)
        async with divided.writer("new"):
            await divided.until(StepTaken, 1)


def lose_append(connection: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Lose the next frame; the event tells that it is."""
    append, is_lost = connection.append, asyncio.Event()

    async def lost(*_arguments: object, **_options: object) -> asyncio.Future[int]:
        is_lost.set()
        monkeypatch.setattr(connection, "append", append)
        acknowledged = asyncio.get_running_loop().create_future()
        acknowledged.set_exception(AppendUnknown("nobody answered"))
        return acknowledged

    monkeypatch.setattr(connection, "append", lost)
    return is_lost


async def test_steps_whose_frame_was_lost_are_decided_by_the_next_reign(
    divided: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = divided.server.connect()
    async with leading(divided, "w", connection) as (steps, _):
        is_lost = lose_append(connection, monkeypatch)
        steps.send([Outgoing(0, CREDIT)], at_ms=0)
        await divided.until(StepTaken, 1)
        assert is_lost.is_set()


async def test_steps_that_a_lost_frame_had_let_go_from_a_lock_are_decided_too(
    divided: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = divided.server.connect()
    async with leading(divided, "w", connection) as (steps, reign):
        steps.send([locks(Step.PREPARE_CREDIT, "t1"), locks(Step.PREPARE_CREDIT, "t2")], at_ms=0)
        await divided.until(StepTaken, 1)
        while reign.in_flight:  # noqa: ASYNC110  # nobody else needs to be told
            await asyncio.sleep(0)
        is_lost = lose_append(connection, monkeypatch)
        steps.send([locks(Step.COMMIT_CREDIT, "t1")], at_ms=0)
        await divided.until(StepTaken, 3)
        assert is_lost.is_set()


def locks(step: Step, transaction_id: str) -> Outgoing:
    """A step of a 2PC, which locks an account or lets it go."""
    take = TakeStep(step, "foo", "bar", 10, "USD", transaction_id, COORDINATOR)
    return Outgoing(0, take)


async def test_steps_whose_frame_could_not_be_sent_are_decided_by_the_next_reign(
    divided: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = divided.server.connect()
    append = connection.append

    async def unsent(*_arguments: object, **_options: object) -> asyncio.Future[int]:
        monkeypatch.setattr(connection, "append", append)
        raise Disconnected("nothing was sent")

    async with leading(divided, "w", connection) as (steps, _):
        monkeypatch.setattr(connection, "append", unsent)
        steps.send([Outgoing(0, CREDIT)], at_ms=0)
        await divided.until(StepTaken, 1)


@pytest.mark.parametrize("is_queue_lost", [False, True], ids=["a cut", "a restart"])
async def test_steps_whose_reign_a_lost_connection_ended_leave_with_the_next_one(
    divided: World,
    is_queue_lost: bool,  # noqa: FBT001  # a column
) -> None:
    connection = divided.server.connect()
    async with leading(divided, "w", connection) as (steps, reign):
        steps.send([Outgoing(0, CREDIT)], at_ms=0)
        while not reign.in_flight:  # noqa: ASYNC110  # nobody else needs to be told
            await asyncio.sleep(0)
        connection.cut()
        if is_queue_lost:
            divided.server.lose_stream(queue_stream(0))
        await asyncio.sleep(1.0)
        connection.mend()
        await divided.until(EpochOpened, 2)
        await divided.until(StepTaken, 1)


async def test_steps_that_wait_for_a_lock_go_on_to_wait_in_the_next_reign(divided: World) -> None:
    async with leading(divided, "old", kind=Mandate) as (steps, old):
        steps.send([locks(Step.PREPARE_CREDIT, "t1"), locks(Step.PREPARE_CREDIT, "t2")], at_ms=0)
        await divided.until(StepTaken, 1)
        assert old.machine.waiting_count == 1
        divided.mandates["old"].withdraw()
        async with asyncio.timeout(DEADLINE_S):
            await divided.came_free.wait()
        async with divided.writer("new"):
            steps.send([locks(Step.COMMIT_CREDIT, "t1")], at_ms=0)
            await divided.until(StepTaken, 3)


async def test_steps_that_wait_for_their_queue_keep_no_others_waiting(
    divided: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the servers of a cluster choose who makes queues: others may be there."""
    connection = divided.server.connect()
    steps = StepSender(connection, "w")
    arrived = await divided.credits([])

    monkeypatch.setattr(connection, "restore_queue", never)
    connection.cut()
    steps.send([Outgoing(0, CREDIT)], at_ms=0)
    sending = asyncio.create_task(steps.run())
    await asyncio.sleep(1.0)
    connection.mend()
    steps.send([Outgoing(1, CREDIT)], at_ms=0)
    async with asyncio.timeout(DEADLINE_S):
        assert await arrived.get() == CREDIT
    sending.cancel()


async def test_a_frame_of_steps_that_no_connection_takes_is_dropped_after_another_try(
    divided: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that is too large for the server: whoever wanted the steps asks again."""
    connection = divided.server.connect()

    async def refused(_subject: str, _data: bytes) -> None:
        raise Disconnected("not sent")

    monkeypatch.setattr(connection, "publish", refused)
    steps = StepSender(connection, "w")
    steps.send([Outgoing(0, CREDIT)], at_ms=0)
    sending = asyncio.create_task(steps.run())
    await asyncio.sleep(1.0)
    assert "steps not sent" in caplog.text
    sending.cancel()


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
