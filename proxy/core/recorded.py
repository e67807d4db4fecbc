"""What clients read of recorded transfers: what became of one, its steps, and the unfinished ones.

A transfer within one partition is one event. One between partitions has steps on both sides, each
recorded in its own partition's journal.
"""

from collections.abc import Sequence
from heapq import merge
from typing import Annotated, Final, Literal, NotRequired, TypedDict

from msgspec import Meta

from contracts.coordination import COORDINATION_NAMES, Coordination, Step
from contracts.money import format_amount
from contracts.queries import (
    StepRecord,
    TransferAnswer,
    TransferQuery,
    UnfinishedAnswer,
    UnfinishedTransfer,
)
from proxy.core.instants import format_instant
from proxy.core.problems import BY_REJECTION
from proxy.core.representations import Moment, Place, Text, TransferCompleted, TransferPending, Way

_START = "start"

StepName = Annotated[
    str,
    Meta(
        description=(
            "`start` and those that end in `debit`, `complete` and `refund` are the payer's side;"
            " those that end in `credit` the payee's. By choreography, `start` takes the amount."
        ),
        extra_json_schema={"enum": [_START, *(step.name.lower() for step in Step)]},
    ),
]
Reason = Annotated[
    str,
    Meta(
        description="As in the problem document of the transfer.",
        extra_json_schema={"enum": [kind.code for kind in BY_REJECTION.values()]},
    ),
]


class TransferStep(TypedDict):
    """What one side of a transfer between partitions recorded."""

    name: StepName
    partition: Place
    sequence: Annotated[int, Meta(description="In that partition.")]
    at: Moment
    code: NotRequired[
        Annotated[Reason, Meta(description="Why it was refused, or why it undid the transfer.")]
    ]


Steps = Annotated[
    list[TransferStep],
    Meta(
        description=(
            "In the order of time; none for a transfer within one partition. The payee's newest"
            " steps may be missing for a moment, while a reader of the payee's partition is behind;"
            " `status` does not depend on them."
        )
    ),
]


class _Shared(TypedDict):
    """What is shown of a transfer whatever became of it."""

    transaction_id: str
    from_account_id: str
    to_account_id: str
    amount: Text
    currency: str
    coordination: Way
    partition: Place
    sequence: int
    steps: Steps


class RecordedCompleted(TransferCompleted):
    """A transfer that was done, with its steps."""

    steps: Steps


class RecordedRejected(TypedDict):
    """A transfer that was refused, or undone: the payer has what it had."""

    status: Literal["rejected"]
    transaction_id: str
    from_account_id: str
    to_account_id: str
    amount: Text
    currency: str
    code: Reason
    detail: str
    coordination: Way
    partition: Place
    sequence: Annotated[int, Meta(description="Of the event that decided it.")]
    rejected_at: Moment
    steps: Steps


class RecordedPending(TransferPending):
    """A transfer that is under way between partitions: it will be completed or rejected."""

    coordination: Way
    partition: Place
    sequence: Annotated[int, Meta(description="Of its start.")]
    started_at: Moment
    steps: Steps


class Unfinished(TypedDict):
    """A transfer that was started and has no outcome yet."""

    transaction_id: str
    from_account_id: str
    to_account_id: str
    amount: Text
    currency: str
    coordination: Way
    partition: Place
    sequence: Annotated[int, Meta(description="Of its start.")]
    started_at: Moment
    age_ms: Annotated[int, Meta(description="From its start to `as_of`, at least 0.")]
    last_step: Annotated[StepName, Meta(description="The last one of the payer's side.")]


class UnfinishedTransfers(TypedDict):
    """The oldest unfinished transfers of all partitions, oldest first."""

    count: Annotated[int, Meta(description="Of all that are unfinished.")]
    as_of: Annotated[Moment, Meta(description="The present, by the answering proxy's clock.")]
    transfers: list[Unfinished]


def recorded_transfer(
    query: TransferQuery, answer: TransferAnswer, credit_steps: Sequence[StepRecord]
) -> RecordedCompleted | RecordedRejected | RecordedPending:
    """Show what became of a transfer; when completed, like the transfer's own answer."""
    shared = _shared(query, answer, credit_steps)
    at = format_instant(answer.at_ms)
    if not answer.is_finished:
        return {"status": "pending", **shared, "started_at": at}
    if answer.rejection is None:
        balance = format_amount(answer.balance_minor, answer.currency)
        return {"status": "completed", **shared, "balance": balance, "completed_at": at}
    reason = BY_REJECTION[answer.rejection]
    return {
        "status": "rejected",
        **shared,
        "code": reason.code,
        "detail": reason.detail,
        "rejected_at": at,
    }


def _shared(
    query: TransferQuery, answer: TransferAnswer, credit_steps: Sequence[StepRecord]
) -> _Shared:
    return {
        "transaction_id": query.transaction_id,
        "from_account_id": query.from_account_id,
        "to_account_id": answer.to_account_id,
        "amount": format_amount(answer.amount_minor, answer.currency),
        "currency": answer.currency,
        "coordination": COORDINATION_NAMES[answer.coordination],
        "partition": answer.partition,
        "sequence": answer.sequence,
        "steps": _steps(query, answer, credit_steps),
    }


def _steps(
    query: TransferQuery, answer: TransferAnswer, credit_steps: Sequence[StepRecord]
) -> list[TransferStep]:
    """Both sides' steps in the order of time; within a millisecond by rank, then the payer's first.

    Only by 2PC the side that locks first comes first, which is that of the smaller account id.
    Each side's own steps stay in the order of their sequences, whatever their ranks.
    """
    sides = [answer.steps, credit_steps]
    is_by_2pc = answer.coordination is Coordination.TWO_PHASE_COMMIT
    if is_by_2pc and answer.to_account_id < query.from_account_id:
        sides.reverse()
    in_order = merge(*sides, key=lambda each: (each.at_ms, _RANKS[each.step]))
    return [_step(record) for record in in_order]


_RANKS: Final[dict[Step | None, int]] = {
    None: 0,
    Step.DEBIT: 1,
    Step.TRY_DEBIT: 1,
    Step.TRY_CREDIT: 1,
    Step.PREPARE_DEBIT: 1,
    Step.PREPARE_CREDIT: 1,
    Step.CREDIT: 2,
    Step.CONFIRM_DEBIT: 2,
    Step.CONFIRM_CREDIT: 2,
    Step.COMMIT_CREDIT: 2,
    Step.COMPLETE: 3,
    Step.REFUND: 3,
    Step.CANCEL_DEBIT: 3,
    Step.CANCEL_CREDIT: 3,
    Step.EXPIRE_DEBIT: 3,
    Step.COMMIT_DEBIT: 3,
    Step.ABORT_DEBIT: 3,
    Step.ABORT_CREDIT: 3,
}
"""A step comes after those of lower rank that its transfer takes."""


def _step(record: StepRecord) -> TransferStep:
    shown: TransferStep = {
        "name": _step_name(record.step),
        "partition": record.partition,
        "sequence": record.sequence,
        "at": format_instant(record.at_ms),
    }
    if record.reason is not None:
        shown["code"] = BY_REJECTION[record.reason].code
    return shown


def _step_name(step: Step | None) -> str:
    return _START if step is None else step.name.lower()


def unfinished_transfers(
    answers: Sequence[UnfinishedAnswer], *, limit: int, now_ms: int
) -> UnfinishedTransfers:
    """Show the oldest of all partitions' unfinished transfers, with their ages at `now_ms`.

    Journals can't tell the present: in a wallet in which nothing happens their time stands still.
    """
    found = [(each, answer.partition) for answer in answers for each in answer.transfers]
    found.sort(key=lambda pair: (pair[0].started_at_ms, pair[1], pair[0].started_sequence))
    return {
        "count": sum(answer.count for answer in answers),
        "as_of": format_instant(now_ms),
        "transfers": [_unfinished(each, place, now_ms) for each, place in found[:limit]],
    }


def _unfinished(transfer: UnfinishedTransfer, partition: int, now_ms: int) -> Unfinished:
    return {
        "transaction_id": transfer.transaction_id,
        "from_account_id": transfer.from_account_id,
        "to_account_id": transfer.to_account_id,
        "amount": format_amount(transfer.amount_minor, transfer.currency),
        "currency": transfer.currency,
        "coordination": COORDINATION_NAMES[transfer.coordination],
        "partition": partition,
        "sequence": transfer.started_sequence,
        "started_at": format_instant(transfer.started_at_ms),
        "age_ms": max(0, now_ms - transfer.started_at_ms),  # the broker's clock may be ahead
        "last_step": _step_name(transfer.last_step),
    }
