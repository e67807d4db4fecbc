"""The loop of one party: drain the queue, decide, append, notice what became of it.

    queue ─▶ [decide] ─▶ append ─▶ (in flight) ─▶ acknowledged ─▶ witness ─▶ steps to others
                ▲                       │ refused, unknown, disconnected; or the mandate withdrawn
                └── stand by ◀──────────┘ stop, forget, follow the journal until the next mandate

State runs ahead of the journal by the frames in flight. If one of them fails, everything decided
after it is void, so the whole machine is dropped and rebuilt from what is durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from broker.port import Broker, BrokerFault, BrokerUnfit, Following, StoredMessage
from broker.witness import Witness
from contracts.frames import StepFrame
from contracts.limits import TICK_MS
from contracts.parties import party_title
from contracts.steps import Tick
from contracts.subjects import journal_subject, queue_stream
from writer.core.machine import Decision, Machine, Position, QueuedFrame
from writer.core.rules import Rules
from writer.service.in_flight import InFlight, left_steps
from writer.service.leading import Mandate
from writer.service.queue import decoded_frame, next_group, queued_frames
from writer.service.snapshots import Snapshots
from writer.service.standby import Standby
from writer.service.steps import StepSender
from writer.service.turns import Turns

_log = logging.getLogger(__name__)

_TICK_LOST_S: Final = 2.0
"""A tick that is not back by then was lost with its queue."""
_GATHERED_FRAMES_MAX: Final = 1_024
_REBUILD_DELAY_S_FIRST: Final = 0.2
_REBUILD_DELAY_S_MAX: Final = 1.0
_UNREADY_S_FIRST: Final = 1.0
_UNREADY_S_MAX: Final = 60.0
"""A writer that fails as the leader for some reason in itself would be dealt the party again and
again, and each time stop the reign of another: so after each failure it keeps away for longer."""
_PROVEN_S: Final = 10.0
"""After a reign that lasted, a fault is that of the moment."""


R = TypeVar("R", bound=Rules)


class PartyWriter(Generic[R]):
    """Writes one party's journal, reign after reign."""

    def __init__(
        self,
        broker: Broker,
        party: int,
        rules: Callable[[], R],
        *,
        steps: StepSender,
        turns: Turns,
        mandate: Mandate,
        writer_id: str,
        witness: Witness,
        snapshots: Snapshots[R],
        fresh_key: Callable[[], bytes],
    ) -> None:
        """The mandate says when to lead. Both makers are called when they are needed.

        `rules` makes the party's rules with no history, `fresh_key` FINGERPRINT_KEY_BYTES random
        bytes.
        """
        self.party = party
        self._name = party_title(party)
        self._broker = broker
        self._writer_id = writer_id
        self._witness = witness
        self.snapshots = snapshots
        self._fresh_key = fresh_key
        self._steps = steps
        self._turns = turns
        self._mandate = mandate
        self._machine: Machine[R] | None = None
        """Of this reign; None while there is none."""
        self.epoch = 0
        """Of the newest reign here, 0 before the first."""
        self._journal_sequence = 0
        """Stream sequence after which the next frame must come."""
        self.durable_sequence = 0
        """Of the last event known to be in the journal."""
        self.durable_hash = b""
        """Of the frame that it is in."""
        self._durable_stream_sequence = 0
        """Of the last frame known to be in the journal."""
        self._standby = Standby(
            broker, party, rules, witness=witness, snapshots=snapshots, mandate=mandate
        )
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
        self._has_unfinished = asyncio.Event()
        self._ticked = asyncio.Event()
        """The last tick has come out of the queue, or may be lost."""
        self._losses: set[str | None] = set()
        """Queues' streams that may lack steps and would take them now; None: all."""
        self._lost = asyncio.Event()
        """There are some."""
        self.reigning = asyncio.Event()
        self._reigning_since_s = 0.0
        """By the loop's clock; means something while it reigns."""

    async def run(self) -> None:
        """Stand by, and write while there is a mandate, until cancelled.

        Raise Unfit or BrokerUnfit if the journal can't be trusted.
        """
        delay_s, unready_s = _REBUILD_DELAY_S_FIRST, 0.0
        while True:
            try:
                has_led = await self._lead_once(unready_s)
            except BrokerUnfit:
                raise
            except BrokerFault as fault:
                # As text: whoever keeps the record would keep the fault, and by that the machine.
                _log.warning("%s: rebuilding after %s", self._name, repr(fault))
                if self.reigning.is_set():
                    delay_s = _REBUILD_DELAY_S_FIRST
                if self._mandate.is_used:
                    unready_s = _unready_s(unready_s, self._reigned_s())
                self._mandate.resign()
            else:
                if has_led:
                    delay_s, unready_s = _REBUILD_DELAY_S_FIRST, 0.0
                continue
            finally:
                await self._end_reign()
                self._mandate.give_back()
            await asyncio.sleep(delay_s)  # noqa: TID251  # a broken broker is given air
            delay_s = min(2 * delay_s, _REBUILD_DELAY_S_MAX)

    async def _lead_once(self, unready_s: float) -> bool:
        """Stand by, lead, and keep the machine if nothing went wrong until the mandate ended.

        False: it ended before there was a reign.
        """
        machine, self._journal_sequence = await self._standby.until_mandate(unready_s)
        if self._mandate.use():  # else it ended while the last of the journal was read
            await self._begin_reign(machine)
        has_led = self.reigning.is_set()
        if has_led:
            await self._reign()
        self._standby.keep(machine, self._journal_sequence)
        return has_led

    @property
    def machine(self) -> Machine[R] | None:
        """The state of the present reign, ahead of the journal by what is in flight."""
        return self._machine if self.reigning.is_set() else None

    @property
    def in_flight(self) -> int:
        """Decisions that are not known to be durable yet."""
        return int(self._in_flight is not None)

    async def settled(self) -> None:
        """Return once this party is led here, or elsewhere and could be taken over at once."""
        await self._mandate.was_ready.wait()
        here = asyncio.ensure_future(self.reigning.wait())
        elsewhere = asyncio.ensure_future(self._mandate.elsewhere.wait())
        await asyncio.wait({here, elsewhere}, return_when=asyncio.FIRST_COMPLETED)
        here.cancel()
        elsewhere.cancel()

    # --- a reign begins and ends ---

    async def _begin_reign(self, machine: Machine[R]) -> None:
        self._machine = machine
        # Before the epoch: a reign that can't read its queue must leave no trace in the journal.
        self._queue = await self._follow_queue(machine.position)
        if not self._mandate.granted.is_set():
            return  # meanwhile; who leads now is not deposed for nothing
        opened = machine.open_epoch(self._writer_id, self._fresh_key())
        assert opened.data is not None, "an epoch is an event"
        stored_at = await (await self._append(opened.data))
        if stored_at != self._journal_sequence + 1:
            raise BrokerFault(f"something came in between before {stored_at}")
        self._journal_sequence = stored_at
        self._note_durable(opened, stored_at)
        # By the queue: what the tip's time is from may be long ago.
        for each in opened.outgoing:
            self._steps.send_by_queue(each.party, [each.message])
        self.epoch = machine.tip.epoch
        self._reigning_since_s = asyncio.get_running_loop().time()
        self._room = asyncio.Semaphore()
        self._has_unfinished.set()
        self._losses.clear()
        self._lost.clear()
        self._steps.local[self.party] = self._arrive
        self._steps.note_loss[self.party] = self._note_loss
        self.reigning.set()
        _log.info(
            "%s: epoch %s opened at sequence %s, %s transfers unfinished",
            self._name,
            self.epoch,
            machine.tip.sequence,
            machine.rules.unfinished_count,
        )

    def _reigned_s(self) -> float:
        """How long the present reign has lasted; 0 while it has not begun."""
        if not self.reigning.is_set():
            return 0.0
        return asyncio.get_running_loop().time() - self._reigning_since_s

    async def _reign(self) -> None:
        """Decide and notice acknowledgements, until one of them fails or the mandate ends.

        Not a TaskGroup: that forgets, in Python 3.11, that it was cancelled in the very turn in
        which one of its tasks failed, and the process would go on writing after its end.
        """
        works = (
            self._await_acknowledgements(),
            self._gather_queued(),
            self._decide_gathered(),
            self._let_time_pass(),
            self._ask_again(),
            self.snapshots.run(self._take_snapshot_if_due),
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

    async def _end_reign(self) -> None:
        """Forget everything that was decided and is not known to be durable."""
        self.reigning.clear()
        self._steps.local.pop(self.party, None)
        self._steps.note_loss.pop(self.party, None)
        left = left_steps(self._machine, self._in_flight, self._gathered)
        self._steps.send_by_queue(self.party, left)  # or they would be missed after a second only
        if self._in_flight is not None:
            self._in_flight.void()
            self._in_flight = None
        self._sent.clear()
        self._gathered.clear()
        self._arrived.clear()
        self._machine = None
        if self._queue is not None:
            queue, self._queue = self._queue, None
            await queue.close()

    # --- the hot path ---

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

    async def _gather_queued(self) -> None:
        assert self._queue is not None
        async for messages in self._queue:
            frames = list(queued_frames(self.party, messages))
            self._gathered.extend(frames)
            if frames:
                self._arrived.set()
            if not self._ticked.is_set() and any(map(self._is_own_tick, frames)):
                self._ticked.set()
            while len(self._gathered) > _GATHERED_FRAMES_MAX:
                self._taken.clear()
                await self._taken.wait()

    def _is_own_tick(self, queued: QueuedFrame) -> bool:
        return isinstance(queued.frame, StepFrame) and Tick(self.epoch) in queued.frame.steps

    def _arrive(self, frame: StepFrame, at_ms: int) -> None:
        """Gather steps that another party of this process sent."""
        self._gathered.append(QueuedFrame(0, at_ms, frame))
        self._arrived.set()

    async def _decide_gathered(self) -> None:
        """Decide all that has come while earlier frames were out, and send its frame."""
        assert self._machine is not None
        while True:
            await self._arrived.wait()
            await self._turns.join()
            await self._room.acquire()
            group = next_group(self._gathered)
            if not self._gathered:
                self._arrived.clear()
            self._taken.set()
            # No await between deciding and sending: the order of frames is the order of decisions.
            decision = self._machine.decide(group)
            self._in_flight = out = InFlight(decision, group)
            if decision.data is not None:
                out.acknowledged = await self._append(decision.data)
                self._journal_sequence += 1
                self._turns.sent(out.acknowledged)
            self._sent.set()
            if self._machine.rules.unfinished_count:
                self._has_unfinished.set()

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

    async def _let_time_pass(self) -> None:
        """While anybody waits for another party, tell the rules that time passes.

        There is one tick under way at a time, or a stall would end in many that say the same.
        """
        assert self._machine is not None
        while True:
            await self._has_unfinished.wait()
            await asyncio.sleep(TICK_MS / 1_000)  # noqa: TID251  # the timer that the rules lack
            if self._machine.rules.unfinished_count:
                await self._broker.connected()  # ticks would wait for that, and come all at once
                self._ticked.clear()
                self._steps.send_by_queue(self.party, [Tick(self.epoch)])
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_LOST_S):
                        await self._ticked.wait()
            else:
                self._has_unfinished.clear()

    def _note_loss(self, stream: str | None) -> None:
        self._losses.add(stream)
        self._lost.set()

    async def _ask_again(self) -> None:
        """Ask once more for what may be lost, or whose answer may: the own queue takes answers.

        It takes ticks too, and the next one is sent then.
        """
        assert self._machine is not None
        while True:
            await self._lost.wait()
            async with self._room:  # nothing is in flight: what was decided is durable
                losses = self._losses.copy()
                self._losses.clear()
                self._lost.clear()
                is_own = not losses.isdisjoint({None, queue_stream(self.party)})
                for each in self._machine.rules.unanswered():
                    if is_own or queue_stream(each.party) in losses:
                        self._steps.send_by_queue(each.party, [each.message])
            if is_own:
                self._ticked.set()

    async def _append(self, data: bytes) -> asyncio.Future[int]:
        return await self._broker.append(
            journal_subject(self.party), data, expected_last_sequence=self._journal_sequence
        )

    def _note_appended(self, decision: Decision, stream_sequence: int) -> None:
        """The next frame of this reign is durable: right behind the one before, or it is void."""
        if stream_sequence != self._durable_stream_sequence + 1:
            raise BrokerFault(f"something came in between at {stream_sequence - 1}")
        self._note_durable(decision, stream_sequence)
        self._take_snapshot_if_due()

    def _take_snapshot_if_due(self) -> None:
        machine = self._machine
        if machine is not None and machine.tip.sequence == self.durable_sequence:
            self.snapshots.take_if_due(machine, self._durable_stream_sequence)

    def _note_durable(self, decision: Decision, stream_sequence: int) -> None:
        self.durable_sequence = decision.tip.sequence
        self.durable_hash = decision.tip.hash
        self._durable_stream_sequence = stream_sequence
        self._witness.record(decision.tip.sequence, decision.tip.hash, stream_sequence)


def _unready_s(before_s: float, reigned_s: float) -> float:
    """How long to leave the party to others after a reign that failed."""
    if reigned_s >= _PROVEN_S:
        return 0.0
    return min(max(2 * before_s, _UNREADY_S_FIRST), _UNREADY_S_MAX)


def _is_curable(error: BaseException) -> bool:
    return isinstance(error, BrokerFault) and not isinstance(error, BrokerUnfit)
