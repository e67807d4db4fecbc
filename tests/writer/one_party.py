"""One party's writer over the broker in memory, and what lies in its journal."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

from broker.memory_broker import MemoryBroker, MemoryServer
from broker.witness import Witness
from contracts.chain import Chained, follow, genesis
from contracts.commands import Command, OpenAccount, Transfer
from contracts.events import (
    Event,
    TransferStarted,
)
from contracts.frames import COMMAND_FRAME, STEP_FRAME, CommandFrame, EventFrame, StepFrame
from contracts.partitioning import SlotMap
from contracts.steps import StepMessage, TakeStep
from contracts.subjects import (
    command_subject,
    journal_stream,
    journal_subject,
    queue_stream,
    step_subject,
)
from writer.config import SNAPSHOT_RULE_DEFAULT, SnapshotRule
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.core.partition import Partition
from writer.service.mandate import Mandate
from writer.service.party import PartyWriter
from writer.service.reign import Reign
from writer.service.snapshots import OneAtATime, Snapshots
from writer.service.steps import StepSender
from writer.service.turns import Turns

DEADLINE_S = 5.0
OPENINGS: list[Command] = [OpenAccount("a", "USD", 100), OpenAccount("b", "USD", 0)]


class LoneMandate(Mandate):
    """Of a writer that nobody stands by for: it is named anew at once."""

    def resign(self) -> None:
        super().resign()
        self.grant()


class World:
    """A broker with one partition, and what lies in its journal."""

    def __init__(self, folder: Path, partition_count: int = 1) -> None:
        times = count(1_700_000_000_000_000_000, 1_000_000)
        self.slots = SlotMap.even(partition_count)
        self.server = MemoryServer(lambda: next(times))
        self.server.add_stream(journal_stream(0), journal_subject(0))
        self.server.add_stream(queue_stream(0), command_subject(0), step_subject(0))
        self.client = self.server.connect()
        self.party: PartyWriter[Partition] | None = None
        """The writer that was started last."""
        self.steps: StepSender | None = None
        """Of its process."""
        self._folder = folder
        self._requests = count(1)
        self.mandates: dict[str, Mandate] = {}
        """By the writer's name."""
        self.came_free = asyncio.Event()

    @asynccontextmanager
    async def writer(
        self,
        name: str = "w",
        connection: MemoryBroker | None = None,
        rule: SnapshotRule = SNAPSHOT_RULE_DEFAULT,
        kind: type[Mandate] = Mandate,
    ) -> AsyncIterator[asyncio.Task[None]]:
        """A running writer with a mandate; the task is its run."""
        mandate = self.mandates[name] = kind(lambda: self._note_change(name))
        mandate.grant()
        with self._witness(name) as witness:
            broker = connection or self.server.connect()
            steps = self.steps = StepSender(broker, f"{name}-steps")
            snapshots: Snapshots[Partition] = Snapshots(broker, 0, rule, OneAtATime())
            writer = self.party = PartyWriter(
                broker,
                0,
                partial(Partition, 0, self.slots),
                steps=steps,
                turns=Turns(),
                mandate=mandate,
                writer_id=name,
                witness=witness,
                snapshots=snapshots,
                fresh_key=lambda: b"k" * FINGERPRINT_KEY_BYTES,
            )
            task = asyncio.create_task(writer.run())
            sending = asyncio.create_task(steps.run())
            reigning = asyncio.create_task(writer.reigning.wait())
            await asyncio.wait([task, reigning], return_when=asyncio.FIRST_COMPLETED)
            yield task
            for each in (task, reigning, sending):
                each.cancel()
            await asyncio.gather(task, reigning, sending, return_exceptions=True)

    def _note_change(self, name: str) -> None:
        if not self.mandates[name].is_used:
            self.came_free.set()

    @contextmanager
    def _witness(self, name: str) -> Iterator[Witness]:
        witness = Witness(self._folder / f"{name}.witness")
        yield witness
        witness.close()

    @property
    def reign(self) -> Reign[Partition]:
        """Of the writer that was started last."""
        assert self.party is not None
        assert self.party.reign is not None
        return self.party.reign

    async def send(self, *commands: Command) -> None:
        frame = CommandFrame("proxy", next(self._requests) * 1_000, list(commands))
        await self.client.publish(command_subject(0), COMMAND_FRAME.encode(frame))

    async def step(self, *steps: StepMessage) -> None:
        frame = StepFrame("writer.1", next(self._requests) * 1_000, list(steps))
        await self.client.publish(step_subject(0), STEP_FRAME.encode(frame))

    async def credits(self, durable: list[int]) -> asyncio.Queue[TakeStep]:
        """The steps asked of partition 1; durable notes how many starts are in the journal then."""
        arrived: asyncio.Queue[TakeStep] = asyncio.Queue()

        def note(data: bytes) -> None:
            durable.append(sum(isinstance(event, TransferStarted) for event in self.events()))
            for step in STEP_FRAME.decode(data).steps:
                assert isinstance(step, TakeStep)
                arrived.put_nowait(step)

        await self.client.subscribe(step_subject(1), note)
        return arrived

    def frames(self) -> list[EventFrame]:
        """The frames that count, whatever else the stream holds."""
        tip, frames = genesis(0), []
        for message in self.server.streams[journal_stream(0)].messages:
            link = follow(tip, message.data)
            if isinstance(link, Chained):
                tip = link.tip
                frames.append(link.frame)
        return frames

    def events(self) -> list[Event]:
        return [event for frame in self.frames() for event in frame.events]

    async def until(self, kind: type[Event], times: int) -> None:
        """Return when so many events of a kind are in the journal."""
        stream = self.server.streams[journal_stream(0)]
        async with asyncio.timeout(DEADLINE_S):
            while sum(isinstance(event, kind) for event in self.events()) < times:
                await stream.changed.wait()


def transfer(transaction_id: str) -> Transfer:
    return Transfer("a", "b", 1, "USD", transaction_id)
