"""Which frames of all journals together make a state that the wallet was, or could have been, in.

Pure. A prefix of each journal is not enough: with the payee's credit and without the payer's
debit, money would be made, and no way of coordination would notice. What is needed is a cut that
holds the cause of everything in it (a consistent cut: Chandy and Lamport, "Distributed Snapshots",
1985). It is what all parties would find in their journals after they died at one moment and every
message between them was lost, and from that each way of coordination goes on.

Events of two journals depend on each other by steps alone, and a step leaves its party only when
the event it follows from is durable. So a frame belongs to the cut when, for each of its events,
the event that asked for it, or that it answers, is there already. Which one that is follows from
the tables of the ways.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from msgspec import Struct, field

from contracts.coordination import CREDIT_STEPS, Coordination, Step
from contracts.events import (
    CoordinationBegun,
    CoordinationTimedOut,
    Event,
    StepAnswerRecorded,
    StepRefused,
    StepTaken,
    TransferFinished,
    TransferStarted,
)
from contracts.frames import EventFrame
from writer.core.coordination import FINAL, GIVING_UP, MOVES, WAYS, Lifecycle

Name = tuple[str, str]
"""(payer's account id, transaction id)"""

_Of = (
    TransferStarted
    | TransferFinished
    | StepTaken
    | StepRefused
    | CoordinationBegun
    | StepAnswerRecorded
    | CoordinationTimedOut
)

_ENDS_PAYEE: Final = frozenset(
    step for (_, step), move in MOVES.items() if step in CREDIT_STEPS and move.to in FINAL
)
"""Steps that end the payee's side whenever they are taken."""


class Contradiction(Exception):
    """The journals tell of a transfer what no wallet does; the message says what."""


class _Transfer(Struct):
    """What the cut holds of an unfinished transfer between partitions."""

    coordination: Coordination
    phase: Enum | None = None
    """The coordinator's."""
    asked: set[Step] = field(default_factory=set)
    """By the coordinator, in any phase so far."""
    taken: set[Step] = field(default_factory=set)
    over: set[bool] = field(default_factory=set)
    """Which sides ended: the payee's (True), the payer's (False)."""


class Cut:
    """A cut that grows frame by frame and is consistent after each.

    A finished transfer is forgotten: no side makes another event of it, because its name is
    remembered there for ever. So memory is needed for the unfinished ones alone.
    """

    def __init__(self) -> None:
        self._transfers: dict[Name, _Transfer] = {}

    @property
    def unfinished_count(self) -> int:
        """Transfers between partitions that began in the cut and did not end in it."""
        return len(self._transfers)

    def missing(self, frame: EventFrame) -> str | None:
        """The first cause of the frame that the cut lacks, in words; None if it may be taken.

        The frame is the next one of its journal. No cause is an event of the same frame, because
        nothing follows from an event that is not durable.
        """
        for event in frame.events:
            cause = _CAUSES.get(type(event))
            if cause is not None:
                lacking = cause(self._transfers, event)
                if lacking is not None:
                    return f"{_titled(event)} lacks {lacking}"
        return None

    def take(self, frame: EventFrame) -> None:
        """Let the cut grow by a frame that lacks nothing. Raise Contradiction."""
        for event in frame.events:
            effect = _EFFECTS.get(type(event))
            if effect is not None:
                effect(self._transfers, event)


# --- what must be there before ---

_Transfers = dict[Name, _Transfer]


def _cause_of_step(transfers: _Transfers, event: StepTaken | StepRefused) -> str | None:
    """A side's step was asked for by the coordinator, or by the start of a choreography."""
    transfer = transfers.get(_named(event))
    if transfer is None:
        return "its start"
    if transfer.coordination is Coordination.CHOREOGRAPHY:
        return None
    return _asked(transfer, event.step)


def _cause_of_end(transfers: _Transfers, event: TransferFinished) -> str | None:
    """The payer's last step follows from the payee's answer, the coordinator, or time alone."""
    transfer = transfers.get(_named(event))
    if transfer is None:
        return "its start"
    if event.step is Step.EXPIRE_DEBIT:
        return None
    if transfer.coordination is not Coordination.CHOREOGRAPHY:
        return _asked(transfer, event.step)
    is_there = Step.CREDIT in transfer.taken if event.reason is None else True in transfer.over
    return None if is_there else "the payee's answer"


def _cause_of_beginning(transfers: _Transfers, event: CoordinationBegun) -> str | None:
    return None if _named(event) in transfers else "its start"


def _cause_of_answer(transfers: _Transfers, event: StepAnswerRecorded) -> str | None:
    """A side answers what it took or refused; one that is over answers from memory."""
    transfer = transfers.get(_named(event))
    if transfer is None:
        return "its start"
    is_over = (event.step in CREDIT_STEPS) in transfer.over
    is_taken = event.reason is None and event.step in transfer.taken
    return None if is_over or is_taken else f"the answered step {event.step.name.lower()}"


def _asked(transfer: _Transfer, step: Step) -> str | None:
    if step in transfer.asked:
        return None
    return f"the coordinator's word to {step.name.lower()}"


_CAUSES: Final[Mapping[type, Callable[[_Transfers, Any], str | None]]] = {
    StepTaken: _cause_of_step,
    StepRefused: _cause_of_step,
    TransferFinished: _cause_of_end,
    CoordinationBegun: _cause_of_beginning,
    StepAnswerRecorded: _cause_of_answer,
}


# --- what is there then ---


def _start(transfers: _Transfers, event: TransferStarted) -> None:
    transfers[_named(event)] = _Transfer(event.coordination)


def _take(transfers: _Transfers, event: StepTaken) -> None:
    transfer = transfers[_named(event)]
    transfer.taken.add(event.step)
    if event.step in _ENDS_PAYEE:
        transfer.over.add(True)  # noqa: FBT003  # a side, see _Transfer.over


def _refuse(transfers: _Transfers, event: StepRefused) -> None:
    transfers[_named(event)].over.add(True)  # noqa: FBT003  # a side, see _Transfer.over


def _finish(transfers: _Transfers, event: TransferFinished) -> None:
    transfer = transfers[_named(event)]
    transfer.over.add(False)  # noqa: FBT003  # a side, see _Transfer.over
    if event.reason is None or event.step in GIVING_UP:
        transfer.taken.add(event.step)
    if transfer.coordination is Coordination.CHOREOGRAPHY:
        del transfers[_named(event)]


def _begin(transfers: _Transfers, event: CoordinationBegun) -> None:
    transfer = transfers[_named(event)]
    lifecycle = _lifecycle(event, transfer)
    transfer.phase = lifecycle.first(event.from_account_id, event.to_account_id)
    transfer.asked.update(lifecycle.awaits[transfer.phase])


def _record_answer(transfers: _Transfers, event: StepAnswerRecorded) -> None:
    transfer = transfers[_named(event)]
    lifecycle = _lifecycle(event, transfer)
    key = (transfer.phase, event.step, event.reason is None)
    _enter(transfers, event, lifecycle, lifecycle.transitions.get(key))  # type: ignore[arg-type]  # a phase of None has no entry either


def _time_out(transfers: _Transfers, event: CoordinationTimedOut) -> None:
    transfer = transfers.get(_named(event))
    if transfer is None or transfer.phase is None:
        raise Contradiction(f"{_titled(event)} without having begun")
    lifecycle = _lifecycle(event, transfer)
    _enter(transfers, event, lifecycle, lifecycle.timeouts.get(transfer.phase))


def _enter(transfers: _Transfers, event: _Of, lifecycle: Lifecycle, phase: Enum | None) -> None:
    if phase is None:
        raise Contradiction(f"{_titled(event)} in a phase that knows no such thing")
    if phase is lifecycle.finished:
        del transfers[_named(event)]
        return
    transfer = transfers[_named(event)]
    transfer.phase = phase
    transfer.asked.update(lifecycle.awaits[phase])


_EFFECTS: Final[Mapping[type, Callable[[_Transfers, Any], None]]] = {
    TransferStarted: _start,
    StepTaken: _take,
    StepRefused: _refuse,
    TransferFinished: _finish,
    CoordinationBegun: _begin,
    StepAnswerRecorded: _record_answer,
    CoordinationTimedOut: _time_out,
}


def _named(event: _Of) -> Name:
    return event.from_account_id, event.transaction_id


def _titled(event: Event) -> str:
    of = f"{event.from_account_id}, {event.transaction_id}" if isinstance(event, _Of) else ""
    return f"{type(event).__name__} of transfer ({of})"


def _lifecycle(event: _Of, transfer: _Transfer) -> Lifecycle:
    lifecycle = WAYS[transfer.coordination].lifecycle
    if lifecycle is None:
        raise Contradiction(f"{_titled(event)}, which has no coordinator")
    return lifecycle
