"""Puts rows of transfers into the words of answers: outcomes, what is unfinished, and steps."""

from contracts.coordination import Coordination, Step
from contracts.queries import StepRecord, TransferAnswer, UnfinishedTransfer
from contracts.rejections import Rejection
from reader.core.projection import Projection
from reader.core.rows import OutcomeRow, RejectionRow, StepRow, TransferRow
from reader.service.history import History


def outcome_answer(
    row: OutcomeRow, partition: int, projection: Projection, history: History
) -> TransferAnswer:
    """A transfer that has its outcome."""
    match row:
        case TransferRow():
            return _completed(row, partition, projection)
        case RejectionRow():
            return _rejected(row, partition)
        case StepRow():
            return step_answer(row, row, partition, projection, history)


def step_answer(
    row: StepRow, newest: StepRow, partition: int, projection: Projection, history: History
) -> TransferAnswer:
    """A transfer between partitions as of a row: its outcome, or while there is none its start."""
    return TransferAnswer(
        partition=partition,
        sequence=row.sequence,
        at_ms=row.at_ms,
        to_account_id=row.counterparty_id,
        amount_minor=row.amount_minor,
        currency=projection.currency(row.account),
        rejection=Rejection(row.reason) if row.reason else None,
        balance_minor=row.balance_minor,
        coordination=Coordination(row.coordination),
        is_finished=row.is_outcome,
        steps=[step_record(step, partition) for step in history.steps_until(newest)],
    )


def step_record(row: StepRow, partition: int) -> StepRecord:
    """One step."""
    return StepRecord(
        step=Step(row.step) if row.step else None,
        partition=partition,
        sequence=row.sequence,
        at_ms=row.at_ms,
        reason=Rejection(row.reason) if row.reason else None,
    )


def unfinished_transfer(
    start: StepRow, newest: StepRow, projection: Projection
) -> UnfinishedTransfer:
    """A transfer in the list of those that are under way."""
    return UnfinishedTransfer(
        from_account_id=projection.account_id(start.account),
        to_account_id=start.counterparty_id,
        amount_minor=start.amount_minor,
        currency=projection.currency(start.account),
        transaction_id=start.transaction_id,
        coordination=Coordination(start.coordination),
        started_sequence=start.sequence,
        started_at_ms=start.at_ms,
        last_step=Step(newest.step) if newest.step else None,
    )


def _completed(row: TransferRow, partition: int, projection: Projection) -> TransferAnswer:
    return TransferAnswer(
        partition=partition,
        sequence=row.sequence,
        at_ms=row.at_ms,
        to_account_id=projection.account_id(row.payee),
        amount_minor=row.amount_minor,
        currency=projection.currency(row.payer),
        rejection=None,
        balance_minor=row.payer_balance_minor,
        coordination=Coordination.NONE,
        is_finished=True,
        steps=[],
    )


def _rejected(row: RejectionRow, partition: int) -> TransferAnswer:
    return TransferAnswer(
        partition=partition,
        sequence=row.sequence,
        at_ms=row.at_ms,
        to_account_id=row.payee_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        rejection=Rejection(row.reason),
        balance_minor=row.balance_minor,
        coordination=Coordination.NONE,
        is_finished=True,
        steps=[],
    )
