"""Sends steps to other parties, for all parties of one process together.

A party that this process leads too gets its steps at once. To others, what the decisions of one
turn of the event loop ask for leaves in one frame each.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice

from broker.port import Broker, BrokerFault, Disconnected
from contracts.frames import STEP_FRAME, StepFrame
from contracts.limits import STEP_FRAME_STEPS_MAX
from contracts.parties import party_title
from contracts.steps import StepMessage
from contracts.subjects import queue_stream, step_subject
from runtime.outbox import Outbox
from writer.core.rules import Outgoing

_log = logging.getLogger(__name__)

Arrive = Callable[[StepFrame, int], None]
"""Takes steps and the time of what they follow from, Unix ms."""


class StepSender:
    """Names step frames and sends them. What gets lost is asked for again by who wanted it.

    Of most losses nobody knows, and who waits for a second asks again; see `note_loss` of others.
    """

    def __init__(self, broker: Broker, sender_id: str) -> None:
        """sender_id is this process's own: no other ever used it."""
        self._broker = broker
        self._sender_id = sender_id
        self._next_numbers: dict[int, int] = {}
        """By destination, so that the steps that one party gets are numbered without a gap."""
        self._outbox: Outbox[int, StepMessage] = Outbox()
        self.local: dict[int, Arrive] = {}
        """Who takes the steps of parties that this process leads."""
        self.note_loss: dict[int, Callable[[str | None], None]] = {}
        """What parties that this process leads do when steps may be lost: see `Broker.on_loss`."""

    def send(self, outgoing: Iterable[Outgoing], at_ms: int) -> None:
        """Let steps leave, in their order. at_ms: when what they follow from happened."""
        by_party: dict[int, list[StepMessage]] = {}
        for each in outgoing:
            by_party.setdefault(each.party, []).append(each.message)
        for party, steps in by_party.items():
            arrive = self.local.get(party)
            if arrive is None:
                self.send_by_queue(party, steps)
            else:
                for frame in self._frames(party, steps):
                    arrive(frame, at_ms)

    def send_by_queue(self, party: int, steps: list[StepMessage]) -> None:
        """Let steps leave at the end of this turn, to be stamped with the broker's time."""
        self._outbox.add(party, steps)

    async def run(self) -> None:
        """Send until cancelled."""
        self._broker.on_loss(self._tell_loss)
        async with asyncio.TaskGroup() as waiting:
            await self._outbox.run(partial(self._publish, waiting))

    def _tell_loss(self, stream: str | None) -> None:
        for note in self.note_loss.values():
            note(stream)

    def _frames(self, party: int, steps: list[StepMessage]) -> Iterator[StepFrame]:
        rest = iter(steps)
        while of_frame := list(islice(rest, STEP_FRAME_STEPS_MAX)):
            first = self._next_numbers.get(party, 1)
            self._next_numbers[party] = first + len(of_frame)
            yield StepFrame(self._sender_id, first, of_frame)

    async def _publish(
        self, waiting: asyncio.TaskGroup, party: int, steps: list[StepMessage]
    ) -> None:
        for frame in self._frames(party, steps):
            data = STEP_FRAME.encode(frame)
            try:
                await self._broker.publish(step_subject(party), data)
            except Disconnected:
                waiting.create_task(self._publish_later(party, data))

    async def _publish_later(self, party: int, data: bytes) -> None:
        """Send a frame once there is a connection, as a lost one leaves the steps of a reign.

        Its server may have lost the queue. If it can't be sent then either, nobody gets it. Beside
        the others: while servers choose who makes queues, theirs may be there.
        """
        await self._broker.connected()
        try:
            await self._broker.restore_queue(queue_stream(party))
            await self._broker.publish(step_subject(party), data)
        except BrokerFault as fault:
            _log.warning("%s: steps not sent: %s", party_title(party), fault)
