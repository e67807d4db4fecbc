"""The auditor's part about the coordinator: what it may record, and what may follow from it.

A step is allowed only when what it relies on was durable before: nobody commits before both votes
are in a journal, nobody is credited before the payer's side has paid or is bound to.
"""

from collections import Counter
from typing import Final

from contracts.coordination import CREDIT_STEPS, Coordination, Step
from contracts.events import (
    CoordinationBegun,
    CoordinationTimedOut,
    StepAnswerRecorded,
    TransferFinished,
)
from contracts.limits import HOLD_MS
from contracts.rejections import Rejection
from simulation.books import Books, Transfer, Violated, check
from simulation.cases import TIMED_OUT
from simulation.journals import Where
from simulation.lifecycles import CANCELS

_TRIES: Final = {
    Coordination.TCC: (Step.TRY_DEBIT, Step.TRY_CREDIT),
    Coordination.TWO_PHASE_COMMIT: (Step.PREPARE_DEBIT, Step.PREPARE_CREDIT),
}
_COMMITS: Final = frozenset({Step.CONFIRM_DEBIT, Step.COMMIT_DEBIT, Step.COMMIT_CREDIT})


class Coordinations:
    """The coordinator's journal against the books."""

    def __init__(self, books: Books, cases: Counter[str]) -> None:
        self._books = books
        self._cases = cases

    # --- events of its journal ---

    def begun(self, event: CoordinationBegun, where: Where) -> None:
        """It took a transfer in hand that a partition had started."""
        transfer = self._transfer(event)
        content = (
            event.from_account_id,
            event.to_account_id,
            event.amount_minor,
            event.currency,
            event.transaction_id,
        )
        check(transfer.content == content, "another content than was started")
        check(transfer.coordination is event.coordination, "another way than was started")
        check(transfer.started_sequence, "it was not started")
        check(transfer.begun_at_ms is None, "it is begun twice")
        transfer.begun_at_ms = where.at_ms

    def answered(self, event: StepAnswerRecorded, _where: Where) -> None:
        """A side had taken or refused a step before that was recorded."""
        transfer = self._transfer(event)
        check(transfer.begun_at_ms is not None, "an answer before it is begun")
        check(event.step not in transfer.answers, f"{event.step!r} is recorded twice")
        steps = transfer.payee_steps if event.step in CREDIT_STEPS else transfer.payer_steps
        side = transfer.payee if event.step in CREDIT_STEPS else transfer.payer
        taken = [taken for taken in steps if taken.step is event.step and taken.reason is None]
        if event.reason is None and event.step in CANCELS | {Step.REFUND}:
            check(side in {"kept", "refused"}, f"it did not give up: it is {side}")
        elif event.reason is None:
            check(taken, f"{event.step!r} was not taken")
        else:
            expired = event.reason is Rejection.HOLD_EXPIRED
            check(expired or not taken, f"{event.step!r} was taken, not refused")
            self._check_reason(transfer, event)
        transfer.answers[event.step] = event.reason

    def _check_reason(self, transfer: Transfer, event: StepAnswerRecorded) -> None:
        if event.step in CREDIT_STEPS:
            reason = transfer.payee_reason
        else:
            reason = None if transfer.ending is None else transfer.ending.reason
        check(event.reason is reason, f"the side refused for {reason!r}")

    def timed_out(self, event: CoordinationTimedOut, _where: Where) -> None:
        """It gave up, not before its time and not after a decision."""
        transfer = self._transfer(event)
        check(not transfer.is_timed_out, "it is out of time twice")
        check(transfer.begun_at_ms is not None, "it gave up before it began")
        check(not self._has_decided(transfer), "it gave up after its decision")
        transfer.is_timed_out = True
        self._cases[TIMED_OUT] += 1

    # --- what may follow from it ---

    def check_step(self, transfer: Transfer, step: Step) -> None:
        """A side may take, or refuse, a step that somebody could ask for by now."""
        way = transfer.coordination
        if way is not Coordination.CHOREOGRAPHY:
            check(transfer.begun_at_ms is not None, "nobody coordinates it yet")
        if step is Step.CREDIT:
            check(
                transfer.payer == "debited", f"credited while the payer's side is {transfer.payer}"
            )
            if way is Coordination.ORCHESTRATION:
                check(Step.DEBIT in transfer.answers, "credited before the debit was recorded")
        elif step is Step.CONFIRM_CREDIT:
            check(
                transfer.payer == "captured",
                f"confirmed while the payer's side is {transfer.payer}",
            )
            check(Step.CONFIRM_DEBIT in transfer.answers, "confirmed before that was recorded")
        elif step in _COMMITS:
            check(self._may_commit(transfer), f"{step!r} before the decision was recorded")
            if step is Step.COMMIT_DEBIT:
                check(transfer.payee == "credited", "answered before the payee has the money")
        elif step in CANCELS:
            check(self._may_cancel(transfer), f"{step!r} without a reason on record")

    def check_ending(self, transfer: Transfer, event: TransferFinished, where: Where) -> None:
        """The payer's side ends as the other side, the coordinator or the time demands."""
        if event.step is Step.COMPLETE:
            check(transfer.payee == "credited", f"complete while the payee is {transfer.payee}")
        elif event.step is Step.REFUND:
            check(transfer.payee == "refused", f"refunded while the payee is {transfer.payee}")
            check(event.reason is transfer.payee_reason, f"not for {transfer.payee_reason!r}")
        elif event.step is Step.EXPIRE_DEBIT:
            held_ms = where.at_ms - transfer.held_at_ms
            check(held_ms >= HOLD_MS, f"a hold expired after {held_ms} ms")
            check(not where.sender_id, "the time alone lets a hold expire")
        elif event.step in CANCELS:
            self.check_step(transfer, event.step)
            check(event.reason is self._reason(transfer), f"not for {self._reason(transfer)!r}")
        else:
            self.check_step(transfer, event.step)

    def _may_commit(self, transfer: Transfer) -> bool:
        tries = _TRIES[transfer.coordination]
        return not transfer.is_timed_out and all(
            step in transfer.answers and transfer.answers[step] is None for step in tries
        )

    def _may_cancel(self, transfer: Transfer) -> bool:
        """It is out of time, or a side has refused; the payer's hold may have expired later."""
        refused = any(reason is not None for reason in transfer.answers.values())
        return transfer.is_timed_out or refused

    def _has_decided(self, transfer: Transfer) -> bool:
        refused = any(reason is not None for reason in transfer.answers.values())
        return refused or self._may_commit(transfer)

    def _reason(self, transfer: Transfer) -> Rejection | None:
        """Why the coordinator gave up: the first reason on record."""
        reasons = [reason for reason in transfer.answers.values() if reason is not None]
        if reasons:
            return reasons[0]
        return Rejection.COORDINATION_TIMED_OUT if transfer.is_timed_out else None

    def _transfer(
        self, event: CoordinationBegun | StepAnswerRecorded | CoordinationTimedOut
    ) -> Transfer:
        transfer = self._books.transfers.get((event.from_account_id, event.transaction_id))
        if transfer is None:
            raise Violated("the coordinator has a transfer that nobody started")
        return transfer
