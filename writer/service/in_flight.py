"""What a reign has not brought to its end: the decision that is out, and steps without any."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TypeVar

from msgspec import Struct

from contracts.frames import StepFrame
from contracts.steps import StepMessage
from writer.core.machine import Decision, Machine, QueuedFrame
from writer.core.rules import Rules

R = TypeVar("R", bound=Rules)


class InFlight(Struct):
    """A decision that is not known to be durable."""

    decision: Decision
    group: Sequence[QueuedFrame]
    """What it decides."""
    acknowledged: asyncio.Future[int] | None = None
    """None: it has no frame, or that is being sent."""

    def void(self) -> None:
        """Expect nothing of it: if its frame was stored, that is read in the journal."""
        acknowledged = self.acknowledged
        if acknowledged is not None and not acknowledged.cancel() and not acknowledged.cancelled():
            acknowledged.exception()  # looked at, or asyncio complains: it ended the reign


def left_steps(
    machine: Machine[R], in_flight: InFlight | None, gathered: Iterable[QueuedFrame]
) -> list[StepMessage]:
    """The steps that a reign leaves undecided, in their order.

    But for those that came by the queue and wait for nothing: the next reign reads them there.
    """
    let_go = () if in_flight is None else in_flight.decision.let_go
    decided = () if in_flight is None else in_flight.group
    past_the_queue = (
        each.frame.steps
        for each in chain(decided, gathered)
        if not each.sequence and isinstance(each.frame, StepFrame)
    )
    return [*let_go, *machine.waiting_steps, *chain.from_iterable(past_the_queue)]
