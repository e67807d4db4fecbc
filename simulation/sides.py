"""The auditor's part about money: what starts, steps and endings of transfers do to the books.

Each event moves one side of one transfer from a state to another, as `lifecycles` has it, and must
be what the books and the coordinator's journal allow at that moment.
"""

from collections import Counter
from typing import Any

from contracts.coordination import COORDINATION_NAMES, CREDIT_STEPS, Coordination, Step
from contracts.events import StepRefused, StepTaken, TransferFinished
from contracts.partitioning import SlotMap
from contracts.rejections import Rejection
from simulation.books import Books, Content, Ending, Line, Taken, Transfer, Violated, check
from simulation.cases import EMPTY_CANCEL, HOLD_EXPIRED
from simulation.coordinating import Coordinations
from simulation.journals import Where
from simulation.lifecycles import (
    CANCELS,
    ENDED,
    FIRST_STATES,
    FIRST_STEPS,
    PAYEE,
    PAYER,
    WAYS_OF_STEP,
    Effect,
)

_PAID = Effect("paid", posted=-1)
_CREDITED = Effect("credited", posted=1)


class Sides:
    """Both sides of all transfers."""

    def __init__(
        self, books: Books, coordinations: Coordinations, slots: SlotMap, cases: Counter[str]
    ) -> None:
        self._books = books
        self._coordinations = coordinations
        self._slots = slots
        self._cases = cases

    # --- begin and end ---

    def complete(self, content: Content, where: Where) -> None:
        """A transfer within one partition moved its money."""
        transfer = self._known(Transfer(content))
        self._post(transfer, content[0], _PAID, where)
        self._post(transfer, content[1], _CREDITED, where)
        self._end(transfer, None, where)

    def reject(self, content: Content, reason: Rejection, where: Where) -> None:
        """A transfer was refused before anything began, for ever."""
        self._end(self._known(Transfer(content)), reason, where)

    def start(self, content: Content, way: Coordination, where: Where) -> None:
        """A transfer between partitions is under way."""
        transfer = self._known(Transfer(content, way))
        transfer.started_sequence, transfer.started_at_ms = where.sequence, where.at_ms
        effect = FIRST_STATES[way]
        transfer.payer = effect.to
        self._post(transfer, content[0], effect, where)
        self._count_in_flight(transfer, 0)
        _note_taken(transfer.payer_steps, None, where, None)

    def _known(self, transfer: Transfer) -> Transfer:
        check(transfer.name not in self._books.transfers, f"{transfer.name} begins twice")
        self._books.transfers[transfer.name] = transfer
        return transfer

    def _end(self, transfer: Transfer, reason: Rejection | None, where: Where) -> None:
        """The transfer has its outcome."""
        check(transfer.ending is None, f"{transfer.name} has a second outcome")
        balance = self._books.balance_minor(transfer.content[0])
        transfer.ending = Ending(
            where.sequence, where.at_ms, reason, balance, transfer.coordination
        )
        what = "completed" if reason is None else reason.name.lower()
        self._books.outcomes[f"{COORDINATION_NAMES[transfer.coordination]}: {what}"] += 1

    # --- events of steps ---

    def finished(self, event: TransferFinished, where: Where) -> None:
        """The payer's side ended, and with it the transfer."""
        transfer = self._asked(event.from_account_id, event.transaction_id, event.step)
        check(transfer.ending is None, f"{transfer.name} ends twice")
        owner = self._slots.partition_of(transfer.content[0])
        check(owner == where.party, "another partition than the payer's ended it")
        if event.step in FIRST_STEPS:
            self._check_refusal(transfer, event.step, event.reason)
            check(transfer.payer == "started", f"refused in state {transfer.payer}")
            transfer.payer = "kept"
        else:
            self._coordinations.check_ending(transfer, event, where)
            self._move_payer(transfer, event.step, where)
        check(transfer.payer in ENDED, "an outcome before the payer's side has ended")
        check((transfer.payer == "paid") == (event.reason is None), "the reason does not fit")
        _note_taken(transfer.payer_steps, event.step, where, event.reason)
        self._end(transfer, event.reason, where)

    def taken(self, event: StepTaken, where: Where) -> None:
        """Either side took a step that does not end the payer's."""
        transfer = self._stepped(event, where)
        if event.step in FIRST_STEPS or event.step is Step.CREDIT:
            self._check_refusal(transfer, event.step, None)
        if event.step in CREDIT_STEPS:
            self._move_payee(transfer, event.step, where)
            _note_taken(transfer.payee_steps, event.step, where, None)
        else:
            self._move_payer(transfer, event.step, where)
            check(transfer.payer not in ENDED, "the payer's side ended without an outcome")
            transfer.held_at_ms = where.at_ms
            _note_taken(transfer.payer_steps, event.step, where, None)

    def refused(self, event: StepRefused, where: Where) -> None:
        """The payee's side refused its first step."""
        transfer = self._stepped(event, where)
        check(event.step in CREDIT_STEPS, "only the payee's side refuses with this event")
        self._check_refusal(transfer, event.step, event.reason)
        check(transfer.payee == "absent", f"refused in state {transfer.payee}")
        transfer.payee = "refused"
        transfer.payee_reason = event.reason
        _note_taken(transfer.payee_steps, event.step, where, event.reason)

    def _stepped(self, event: StepTaken | StepRefused, where: Where) -> Transfer:
        """The transfer of a step that may be taken or refused now, by this party."""
        transfer = self._asked(event.from_account_id, event.transaction_id, event.step)
        check(transfer.content == content_of(event), "the step is of another content")
        payer_id, payee_id = transfer.content[:2]
        account_id = payee_id if event.step in CREDIT_STEPS else payer_id
        owner = self._slots.partition_of(account_id)
        check(owner == where.party, "a step of another partition's account")
        self._coordinations.check_step(transfer, event.step)
        return transfer

    def _asked(self, payer_id: str, transaction_id: str, step: Step) -> Transfer:
        transfer = self._books.transfers.get((payer_id, transaction_id))
        if transfer is None:
            raise Violated("a step of a transfer that nobody started")
        check(transfer.coordination in WAYS_OF_STEP[step], "a step of another way")
        return transfer

    def _check_refusal(self, transfer: Transfer, step: Step, reason: Rejection | None) -> None:
        """A first step is refused for exactly the reason that the books know."""
        is_credit = step in CREDIT_STEPS
        payer_id, payee_id = transfer.content[:2]
        self._books.check_unlocked(payee_id if is_credit else payer_id, "a first step")
        expected = self._books.refusal(transfer.content, payer=not is_credit, payee=is_credit)
        check(reason is expected, f"expected {expected!r}")

    # --- moves ---

    def _move_payer(self, transfer: Transfer, step: Step, where: Where) -> None:
        self._cases[EMPTY_CANCEL] += step in CANCELS and transfer.payer == "started"
        self._cases[HOLD_EXPIRED] += step is Step.EXPIRE_DEBIT
        effect = PAYER.get((transfer.payer, step))
        if effect is None:
            raise Violated(f"the payer's side is {transfer.payer}")
        before, lock = transfer.in_flight_minor, transfer.payer == "locked"
        transfer.payer = effect.to
        self._move(transfer, transfer.content[0], effect, where, was_locked=lock)
        self._count_in_flight(transfer, before)

    def _move_payee(self, transfer: Transfer, step: Step, where: Where) -> None:
        self._cases[EMPTY_CANCEL] += step in CANCELS and transfer.payee == "absent"
        effect = PAYEE.get((transfer.payee, step))
        if effect is None:
            raise Violated(f"the payee's side is {transfer.payee}")
        before, lock = transfer.in_flight_minor, transfer.payee == "locked"
        transfer.payee = effect.to
        self._move(transfer, transfer.content[1], effect, where, was_locked=lock)
        self._count_in_flight(transfer, before)

    def _move(
        self, transfer: Transfer, account_id: str, effect: Effect, where: Where, *, was_locked: bool
    ) -> None:
        if was_locked:
            self._books.unlock(account_id, transfer)
        if account_id in self._books.accounts:  # else it could only be told to give up
            self._post(transfer, account_id, effect, where)
        if effect.to == "locked":
            self._books.lock(account_id, transfer)

    def _post(self, transfer: Transfer, account_id: str, effect: Effect, where: Where) -> None:
        payer_id, payee_id, _, _, transaction_id = transfer.content
        counterparty_id = payee_id if account_id == payer_id else payer_id
        line = Line(where.sequence, where.at_ms, transaction_id, counterparty_id, 0, 0)
        self._books.move(account_id, effect, transfer, line)

    def _count_in_flight(self, transfer: Transfer, before_minor: int) -> None:
        in_flight_minor = transfer.in_flight_minor
        self._books.in_flight_minor[transfer.content[3]] += in_flight_minor - before_minor
        if transfer.coordination is not Coordination.TWO_PHASE_COMMIT:
            check(in_flight_minor >= 0, "the payee has what the payer did not pay")


def _note_taken(
    steps: list[Taken], step: Step | None, where: Where, reason: Rejection | None
) -> None:
    check(all(taken.step is not step for taken in steps), f"{step!r} is taken twice")
    steps.append(Taken(step, where.party, where.sequence, where.at_ms, reason))


def content_of(of: Any) -> Content:
    """Payer, payee, amount, currency and id of anything that has them."""
    return of.from_account_id, of.to_account_id, of.amount_minor, of.currency, of.transaction_id
