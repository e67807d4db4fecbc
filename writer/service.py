"""The loop of one partition: drain the queue, decide, append, notice what became of it.

    commands ─▶ [decide] ─▶ append ─▶ (in flight) ─▶ acknowledged ─▶ witness
                   ▲                       │ refused, unknown, disconnected
                   └── rebuild ◀───────────┘ stop, forget, rebuild from the journal

State runs ahead of the journal by the frames in flight. If one of them fails, everything decided
after it is void, so the whole machine is dropped and rebuilt from what is durable.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final

from broker.port import Broker, BrokerFault, BrokerUnfit, Following, StoredMessage
from broker.witness import Witness, Witnessed
from contracts.chain import Tip, Unchained
from contracts.frames import COMMAND_FRAME, CommandFrame, Undecodable
from contracts.limits import COMMAND_BYTES_MAX, EVENT_FRAME_EVENTS_MAX, ID_LENGTH_MAX
from contracts.status import WriterPartition
from contracts.subjects import command_stream, journal_stream, journal_subject
from runtime.process import Unfit
from writer.core.machine import EventsToAppend, Machine, Position, QueuedFrame

_log = logging.getLogger(__name__)

_FRAMES_IN_FLIGHT_MAX: Final = 8
_REBUILD_DELAY_S_FIRST: Final = 0.2
_REBUILD_DELAY_S_MAX: Final = 5.0


class PartitionWriter:
    """Writes one partition's journal, reign after reign."""

    def __init__(
        self,
        broker: Broker,
        partition: int,
        partition_count: int,
        *,
        writer_id: str,
        witness: Witness,
        fresh_key: Callable[[], bytes],
    ) -> None:
        """fresh_key gives FINGERPRINT_KEY_BYTES random bytes."""
        self._broker = broker
        self._partition = partition
        self._partition_count = partition_count
        self._writer_id = writer_id
        self._witness = witness
        self._fresh_key = fresh_key
        self._machine: Machine | None = None
        """None while it is being rebuilt."""
        self._epoch = 0
        """Of the reign before, 0 before the first."""
        self._journal_sequence = 0
        """Stream sequence after which the next frame must come."""
        self._durable_sequence = 0
        self._unwitnessed: Witnessed | None = None
        """The witnessed frame that a replay has not come to yet."""
        self._commands: Following | None = None
        """The queue as this reign reads it."""
        self._in_flight: asyncio.Queue[tuple[EventsToAppend, asyncio.Future[int]]] = asyncio.Queue()
        self.reigning = asyncio.Event()

    async def run(self) -> None:
        """Write until cancelled.

        Raise Unfit or BrokerUnfit if the journal can't be trusted or has another writer.
        """
        delay_s = _REBUILD_DELAY_S_FIRST
        while True:
            try:
                await self._begin_reign()
                delay_s = _REBUILD_DELAY_S_FIRST
                await self._reign()
            except BrokerUnfit:
                raise
            except BrokerFault as fault:
                _log.warning("partition %s: rebuilding after %r", self._partition, fault)
            finally:
                await self._end_reign()
            await asyncio.sleep(delay_s)  # noqa: TID251  # a broken broker is given air
            delay_s = min(2 * delay_s, _REBUILD_DELAY_S_MAX)

    def status(self) -> WriterPartition | None:
        """None while there is no reign."""
        if self._machine is None or not self.reigning.is_set():
            return None
        return WriterPartition(
            partition=self._partition,
            epoch=self._epoch,
            sequence=self._durable_sequence,
            in_flight=self._in_flight.qsize(),
            accounts=len(self._machine.partition.accounts),
        )

    # --- a reign begins and ends ---

    async def _begin_reign(self) -> None:
        self._machine = machine = await self._rebuild()
        self._refuse_if_deposed(machine)
        # Before the epoch: a reign that can't read commands must leave no trace in the journal.
        self._commands = await self._follow_commands(machine.position)
        opened = machine.open_epoch(self._writer_id, self._fresh_key())
        acknowledged = await self._append(opened)
        self._journal_sequence = await acknowledged
        self._note_durable(opened, self._journal_sequence)
        self._epoch = machine.tip.epoch
        self._in_flight = asyncio.Queue(maxsize=_FRAMES_IN_FLIGHT_MAX)
        self.reigning.set()
        _log.info(
            "partition %s: epoch %s opened at sequence %s, %s accounts, %s transfers",
            self._partition,
            self._epoch,
            machine.tip.sequence,
            len(machine.partition.accounts),
            len(machine.partition.transfers),
        )

    def _refuse_if_deposed(self, machine: Machine) -> None:
        if self._epoch and machine.reigning_writer_id != self._writer_id:
            raise Unfit(
                f"Partition {self._partition} has a newer writer, {machine.reigning_writer_id} "
                f"(epoch {machine.tip.epoch}; this one's was {self._epoch}). Run one writer for "
                "each partition."
            )

    async def _reign(self) -> None:
        """Decide and notice acknowledgements, until one of them fails."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._await_acknowledgements())
                tasks.create_task(self._decide_commands())
        except BaseExceptionGroup as group:
            # A bug or a refusal beside a broken connection is what counts.
            raise min(group.exceptions, key=_is_curable) from group

    async def _end_reign(self) -> None:
        """Forget everything that was decided and is not known to be durable."""
        self.reigning.clear()
        self._machine = None
        if self._commands is not None:
            commands, self._commands = self._commands, None
            await commands.close()
        while not self._in_flight.empty():
            self._in_flight.get_nowait()[1].cancel()

    # --- recovery ---

    async def _rebuild(self) -> Machine:
        """A machine that has replayed the whole journal."""
        machine = Machine(self._partition, self._partition_count)
        self._unwitnessed = self._witness.newest
        stream = journal_stream(self._partition)
        last = (await self._broker.stream_state(stream)).last_sequence
        self._journal_sequence = 0
        if last:
            following = await self._broker.follow(stream, after=None)
            try:
                async for messages in following:
                    self._replay(machine, messages)
                    if self._journal_sequence >= last:
                        break
            finally:
                await following.close()
        if self._unwitnessed is not None:
            self._refuse_missing(machine.tip.sequence, self._unwitnessed.sequence)
        return machine

    def _replay(self, machine: Machine, messages: list[StoredMessage]) -> None:
        for message in messages:
            link = machine.replay(message.data)
            self._journal_sequence = message.sequence
            witnessed = self._unwitnessed
            if witnessed is not None and machine.tip.sequence >= witnessed.sequence:
                self._compare_with_witness(machine.tip, witnessed)
            if isinstance(link, Unchained):
                _log.error(
                    "partition %s: journal message %s does not count: %s",
                    self._partition,
                    message.sequence,
                    link.why,
                )

    def _compare_with_witness(self, tip: Tip, witnessed: Witnessed) -> None:
        """The journal has reached the witnessed sequence: it must be the same history."""
        self._unwitnessed = None
        if (tip.sequence, tip.hash) != (witnessed.sequence, witnessed.hash):
            raise Unfit(
                f"Partition {self._partition}: the journal holds another history than the one "
                f"that was durable at sequence {witnessed.sequence}. {self._what_to_do()}"
            )

    def _refuse_missing(self, last: int, durable: int) -> None:
        raise Unfit(
            f"Partition {self._partition}: the journal ends at sequence {last}, but sequence "
            f"{durable} was durable. Sequences {last + 1} to {durable} are missing. "
            f"{self._what_to_do()}"
        )

    def _what_to_do(self) -> str:
        return (
            "Nothing was written. Stop the broker, keep a copy of its store, and restore stream "
            f"{journal_stream(self._partition)} from a copy that has them."
        )

    # --- the hot path ---

    async def _follow_commands(self, position: Position) -> Following:
        stream = command_stream(self._partition)
        await self._broker.restore_queue(stream)
        after = await self._last_command(position)
        return await self._broker.follow(stream, after=after, may_rewind=True)

    async def _decide_commands(self) -> None:
        assert self._machine is not None
        assert self._commands is not None
        async for messages in self._commands:
            for group in _groups(self._decoded(messages)):
                # No await between deciding and sending: the order of frames is the order of
                # decisions.
                events = self._machine.decide(group)
                await self._in_flight.put((events, await self._append(events)))
                self._journal_sequence += 1

    async def _await_acknowledgements(self) -> None:
        while True:
            events, acknowledged = await self._in_flight.get()
            self._note_durable(events, await acknowledged)

    async def _append(self, events: EventsToAppend) -> asyncio.Future[int]:
        return await self._broker.append(
            journal_subject(self._partition),
            events.data,
            expected_last_sequence=self._journal_sequence,
        )

    def _note_durable(self, events: EventsToAppend, stream_sequence: int) -> None:
        self._durable_sequence = events.tip.sequence
        self._witness.record(events.tip.sequence, events.tip.hash, stream_sequence)

    async def _last_command(self, position: Position) -> StoredMessage | None:
        """The queue's message that the journal names, None if the queue no longer has it."""
        message = await self._broker.stored_message(
            command_stream(self._partition), position.sequence
        )
        if message is None:
            return None
        frame = _decoded_frame(message)
        named = (position.proxy_id, position.first_request)
        if frame is None or (frame.proxy_id, frame.first_request) != named:
            return None
        return message

    def _decoded(self, messages: list[StoredMessage]) -> Iterator[QueuedFrame]:
        for message in messages:
            frame = _decoded_frame(message)
            if frame is None:
                _log.error(
                    "partition %s: command message %s is no command frame, dropped",
                    self._partition,
                    message.sequence,
                )
            else:
                yield QueuedFrame(message.sequence, message.at_ns // 1_000_000, frame)


def _is_curable(error: BaseException) -> bool:
    return isinstance(error, BrokerFault) and not isinstance(error, BrokerUnfit)


def _decoded_frame(message: StoredMessage) -> CommandFrame | None:
    """None for what no proxy sends: other bytes, or ids whose characters take too many of them."""
    try:
        frame = COMMAND_FRAME.decode(message.data)
    except Undecodable:
        return None
    bytes_max = len(frame.commands) * COMMAND_BYTES_MAX + ID_LENGTH_MAX + 32
    return frame if len(message.data) <= bytes_max else None


def _groups(frames: Iterator[QueuedFrame]) -> Iterator[list[QueuedFrame]]:
    """Cut a run of frames so that no group has more than EVENT_FRAME_EVENTS_MAX commands."""
    group: list[QueuedFrame] = []
    count = 0
    for frame in frames:
        commands = len(frame.frame.commands)
        if group and count + commands > EVENT_FRAME_EVENTS_MAX:
            yield group
            group, count = [], 0
        group.append(frame)
        count += commands
    if group:
        yield group
