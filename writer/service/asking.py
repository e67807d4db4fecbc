"""Asking again: whoever waits for another party's answer asks once more, in time or after a loss.

When an answer is overdue is a rule's business (see writer/core/sides); the rules have no
clock, so time comes to them as a message by the queue, as everything does: a tick.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from broker.port import Broker
from contracts.frames import StepFrame
from contracts.limits import TICK_MS
from contracts.steps import Tick
from contracts.subjects import queue_stream
from writer.core.machine import QueuedFrame
from writer.core.rules import Rules
from writer.service.steps import StepSender

_TICK_LOST_S: Final = 2.0
"""A tick that is not back by then was lost with its queue."""


class Asking:
    """Asks again in the name of one reign."""

    def __init__(
        self,
        broker: Broker,
        steps: StepSender,
        party: int,
        rules: Rules,
        *,
        epoch: int,
        room: asyncio.Semaphore,
    ) -> None:
        """The room is the reign's: who has it knows that all that was decided is durable."""
        self._broker = broker
        self._steps = steps
        self._party = party
        self._rules = rules
        self._tick = Tick(epoch)
        self._room = room
        self._has_unfinished = asyncio.Event()
        self._has_unfinished.set()
        self._ticked = asyncio.Event()
        """The last tick has come out of the queue, or may be lost."""
        self._losses: set[str | None] = set()
        """Queues' streams that may lack steps and would take them now; None: all."""
        self._lost = asyncio.Event()
        """There are some."""

    def note_decided(self) -> None:
        """Somebody may wait for another party now."""
        if self._rules.unfinished_count:
            self._has_unfinished.set()

    def note_queued(self, frames: Iterable[QueuedFrame]) -> None:
        """Look for the own tick in what has come out of the queue."""
        if not self._ticked.is_set() and any(map(self._has_tick, frames)):
            self._ticked.set()

    def _has_tick(self, queued: QueuedFrame) -> bool:
        return isinstance(queued.frame, StepFrame) and self._tick in queued.frame.steps

    def note_loss(self, stream: str | None) -> None:
        """What was sent to a queue may be lost: see `Broker.on_loss`."""
        self._losses.add(stream)
        self._lost.set()

    async def let_time_pass(self) -> None:
        """While anybody waits for another party, tell the rules that time passes.

        There is one tick under way at a time, or a stall would end in many that say the same.
        """
        while True:
            await self._has_unfinished.wait()
            await asyncio.sleep(TICK_MS / 1_000)  # noqa: TID251  # the timer that the rules lack
            if self._rules.unfinished_count:
                await self._broker.connected()  # ticks would wait for that, and come all at once
                self._ticked.clear()
                self._steps.send_by_queue(self._party, [self._tick])
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_LOST_S):
                        await self._ticked.wait()
            else:
                self._has_unfinished.clear()

    async def ask_after_losses(self) -> None:
        """Ask once more for what may be lost, or whose answer may: the own queue takes answers.

        It takes ticks too, and the next one is sent then.
        """
        while True:
            await self._lost.wait()
            async with self._room:  # nothing is in flight: what was decided is durable
                losses = self._losses.copy()
                self._losses.clear()
                self._lost.clear()
                is_own = not losses.isdisjoint({None, queue_stream(self._party)})
                for each in self._rules.unanswered():
                    if is_own or queue_stream(each.party) in losses:
                        self._steps.send_by_queue(each.party, [each.message])
            if is_own:
                self._ticked.set()
