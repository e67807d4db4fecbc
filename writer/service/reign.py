"""One reign over a party: drain the queue, decide, append, notice what became of it.

    queue ─▶ [decide] ─▶ append ─▶ (in flight) ─▶ acknowledged ─▶ witness ─▶ steps to others
                                        │
                                        └─▶ refused, unknown, disconnected: the reign is over

State runs ahead of the journal by the frame in flight. If that fails, everything decided since is
void, and with it the machine. If the mandate is withdrawn, what is in flight lands first, and the
machine is what the journal says.
"""

import asyncio
import logging
from collections import deque
from typing import Final, Generic, TypeVar

from broker.port import Broker, BrokerFault, BrokerUnfit, Following, StoredMessage
from broker.witness import Witness
from contracts.frames import StepFrame
from contracts.parties import party_title
from contracts.subjects import journal_subject, queue_stream
from writer.core.machine import Decision, Machine, Position, QueuedFrame
from writer.core.rules import Rules
from writer.service.asking import Asking
from writer.service.in_flight import InFlight, left_steps
from writer.service.mandate import Mandate
from writer.service.queue import decoded_frame, next_group, queued_frames
from writer.service.snapshots import Snapshots
from writer.service.steps import StepSender
from writer.service.turns import Turns

_log = logging.getLogger(__name__)

_GATHERED_FRAMES_MAX: Final = 1_024

R = TypeVar("R", bound=Rules)


class Reign(Generic[R]):
    """Writes one party's journal for one epoch: `begin`, `run` if that succeeds, `end`."""

    def __init__(
        self,
        broker: Broker,
        party: int,
        machine: Machine[R],
        journal_sequence: int,
        *,
        steps: StepSender,
        turns: Turns,
        mandate: Mandate,
        witness: Witness,
        snapshots: Snapshots[R],
    ) -> None:
        """The machine has replayed the journal, whose last message is at journal_sequence."""
        self.party = party
        self.machine = machine
        """Ahead of the journal by what is in flight."""
        self.journal_sequence = journal_sequence
        """Stream sequence after which the next frame must come."""
        self.durable_sequence = 0
        """Of the last event known to be in the journal."""
        self.durable_hash = b""
        """Of the frame that it is in."""
        self._durable_stream_sequence = 0
        """Of the last frame known to be in the journal."""
        self._broker = broker
        self._steps = steps
        self._turns = turns
        self._mandate = mandate
        self._witness = witness
        self._snapshots = snapshots
        self._queue: Following | None = None
        """The queue as this reign reads it."""
        self._in_flight: InFlight | None = None
        self._sent = asyncio.Event()
        """It is in flight."""
        self._gathered: deque[QueuedFrame] = deque()
        """What has come from the queue and from other parties of this process, in that order."""
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._room = asyncio.Semaphore()
        """For one frame: what comes while it is out leaves in the next, see docs/adr/0006."""

    @property
    def epoch(self) -> int:
        """That it opened."""
        return self.machine.tip.epoch

    @property
    def in_flight(self) -> int:
        """Decisions that are not known to be durable yet."""
        return int(self._in_flight is not None)

    # --- it begins and ends ---

    async def begin(self, writer_id: str, fresh_key: bytes) -> bool:
        """Open an epoch; False: the mandate ended before.

        fresh_key is FINGERPRINT_KEY_BYTES random bytes, for a journal that has none yet.
        """
        machine = self.machine
        # Before the epoch: a reign that can't read its queue must leave no trace in the journal.
        self._queue = await self._follow_queue(machine.position)
        if not self._mandate.granted.is_set():
            return False  # meanwhile; who leads now is not deposed for nothing
        opened = machine.open_epoch(writer_id, fresh_key)
        assert opened.data is not None, "an epoch is an event"
        stored_at = await (await self._append(opened.data))
        if stored_at != self.journal_sequence + 1:
            raise BrokerFault(f"something came in between before {stored_at}")
        self.journal_sequence = stored_at
        self._note_durable(opened, stored_at)
        # By the queue: what the tip's time is from may be long ago.
        for each in opened.outgoing:
            self._steps.send_by_queue(each.party, [each.message])
        _log.info(
            "%s: epoch %s opened at sequence %s, %s transfers unfinished",
            party_title(self.party),
            self.epoch,
            machine.tip.sequence,
            machine.rules.unfinished_count,
        )
        return True

    async def run(self) -> None:
        """Decide and notice acknowledgements, until one of them fails or the mandate ends.

        Not a TaskGroup: that forgets, in Python 3.11, that it was cancelled in the very turn in
        which one of its tasks failed, and the process would go on writing after its end.
        """
        asking = Asking(
            self._broker,
            self._steps,
            self.party,
            self.machine.rules,
            epoch=self.epoch,
            room=self._room,
        )
        self._steps.local[self.party] = self._arrive
        self._steps.note_loss[self.party] = asking.note_loss
        works = (
            self._await_acknowledgements(),
            self._gather_queued(asking),
            self._decide_gathered(asking),
            asking.let_time_pass(),
            asking.ask_after_losses(),
            self._snapshots.run(self._take_snapshot_if_due),
        )
        tasks = [asyncio.create_task(work) for work in works]
        ending = asyncio.create_task(self._finish_when_withdrawn())
        try:
            await asyncio.wait([*tasks, ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_finished = ending.done()
            ending.cancel()
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        faults = [each for each in ended if isinstance(each, Exception)]
        if is_finished and not faults:
            return
        # A bug or a refusal beside a broken connection is what counts.
        raise min(faults, key=_is_curable, default=BrokerFault("the queue is read no more"))

    async def _finish_when_withdrawn(self) -> None:
        """Return when the mandate is withdrawn and what was out has landed: the room is taken."""
        await self._mandate.withdrawn.wait()
        await self._room.acquire()

    async def end(self) -> None:
        """Let go of everything that was decided and is not known to be durable."""
        self._steps.local.pop(self.party, None)
        self._steps.note_loss.pop(self.party, None)
        left = left_steps(self.machine, self._in_flight, self._gathered)
        self._steps.send_by_queue(self.party, left)  # or they would be missed after a second only
        if self._in_flight is not None:
            self._in_flight.void()
        if self._queue is not None:
            await self._queue.close()

    # --- the queue ---

    async def _follow_queue(self, position: Position) -> Following:
        stream = queue_stream(self.party)
        await self._broker.restore_queue(stream)
        after = await self._last_taken(position)
        return await self._broker.follow(stream, after=after, may_rewind=True)

    async def _last_taken(self, position: Position) -> StoredMessage | None:
        """The queue's message that the journal names, None if the queue no longer has it."""
        message = await self._broker.stored_message(queue_stream(self.party), position.sequence)
        if message is None:
            return None
        frame = decoded_frame(self.party, message)
        named = (position.sender_id, position.first_number)
        if frame is None or (frame.sender_id, frame.first_number) != named:
            return None
        return message

    async def _gather_queued(self, asking: Asking) -> None:
        assert self._queue is not None, "it has begun"
        async for messages in self._queue:
            frames = list(queued_frames(self.party, messages))
            self._gathered.extend(frames)
            if frames:
                self._arrived.set()
            asking.note_queued(frames)
            while len(self._gathered) > _GATHERED_FRAMES_MAX:
                self._taken.clear()
                await self._taken.wait()

    def _arrive(self, frame: StepFrame, at_ms: int) -> None:
        """Gather steps that another party of this process sent."""
        self._gathered.append(QueuedFrame(0, at_ms, frame))
        self._arrived.set()

    # --- the hot path ---

    async def _decide_gathered(self, asking: Asking) -> None:
        """Decide all that has come while earlier frames were out, and send its frame."""
        while True:
            await self._arrived.wait()
            await self._turns.join()
            await self._room.acquire()
            group = next_group(self._gathered)
            if not self._gathered:
                self._arrived.clear()
            self._taken.set()
            # No await between deciding and sending: the order of frames is the order of decisions.
            decision = self.machine.decide(group)
            self._in_flight = out = InFlight(decision, group)
            if decision.data is not None:
                out.acknowledged = await self._append(decision.data)
                self.journal_sequence += 1
                self._turns.sent(out.acknowledged)
            self._sent.set()
            asking.note_decided()

    async def _await_acknowledgements(self) -> None:
        """Notice what is durable, in order, and send then what follows from it, never before."""
        while True:
            await self._sent.wait()
            self._sent.clear()
            out = self._in_flight
            assert out is not None
            if out.acknowledged is not None:
                self._note_appended(out.decision, await out.acknowledged)
            self._in_flight = None
            self._room.release()
            self._steps.send(out.decision.outgoing, out.decision.at_ms)

    async def _append(self, data: bytes) -> asyncio.Future[int]:
        return await self._broker.append(
            journal_subject(self.party), data, expected_last_sequence=self.journal_sequence
        )

    def _note_appended(self, decision: Decision, stream_sequence: int) -> None:
        """The next frame of this reign is durable: right behind the one before, or it is void."""
        if stream_sequence != self._durable_stream_sequence + 1:
            raise BrokerFault(f"something came in between at {stream_sequence - 1}")
        self._note_durable(decision, stream_sequence)
        self._take_snapshot_if_due()

    def _take_snapshot_if_due(self) -> None:
        if self.machine.tip.sequence == self.durable_sequence:
            self._snapshots.take_if_due(self.machine, self._durable_stream_sequence)

    def _note_durable(self, decision: Decision, stream_sequence: int) -> None:
        self.durable_sequence = decision.tip.sequence
        self.durable_hash = decision.tip.hash
        self._durable_stream_sequence = stream_sequence
        self._witness.record(decision.tip.sequence, decision.tip.hash, stream_sequence)


def _is_curable(error: BaseException) -> bool:
    return isinstance(error, BrokerFault) and not isinstance(error, BrokerUnfit)
