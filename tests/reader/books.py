"""Naive books: answers about a journal by adding up what its events did.

They are made of the contracts alone and keep no balances: whatever they say of a journal, the
reader must say too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

import msgspec

from contracts.coordination import CREDIT_STEPS, Coordination, Step
from contracts.events import (
    AccountOpened,
    AccountOpenRejected,
    AccountOpenRepeated,
    Event,
    StepRefused,
    StepTaken,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferRepeated,
    TransferStarted,
)
from contracts.queries import (
    AccountAnswer,
    Answer,
    CreditStepsAnswer,
    EntriesAnswer,
    Entry,
    Missing,
    NotFound,
    StepRecord,
    TransferAnswer,
    UnfinishedAnswer,
    UnfinishedTransfer,
)
from contracts.rejections import NOT_REMEMBERED
from contracts.results import Result

START_MS: Final = 1_700_000_000_000


_ABOUT_TRANSFERS: Final = (
    TransferCompleted,
    TransferRejected,
    TransferStarted,
    TransferFinished,
    StepTaken,
    StepRefused,
)


@dataclass(frozen=True)
class Fact:
    """One event of a journal."""

    sequence: int
    at_ms: int
    event: Event


@dataclass(frozen=True)
class Change:
    """What one event did to one account."""

    fact: Fact
    account_id: str
    posted: int
    held: int
    counterparty_id: str
    transaction_id: str


class Books:
    """Answers about a list of facts, which may grow."""

    def __init__(self, partition: int, facts: Sequence[Fact]) -> None:
        self.partition = partition
        self.facts = facts
        self._read = 0
        self._openings: dict[str, Fact] = {}
        self._named: dict[tuple[str, str], list[Fact]] = {}
        self._changes: list[Change] = []
        self._changes_of: dict[str, list[Change]] = {}

    def _read_on(self) -> None:
        """Sort the facts that came since the last time by what they are about."""
        while self._read < len(self.facts):
            fact = self.facts[self._read]
            self._read += 1
            event = fact.event
            if isinstance(event, AccountOpened):
                self._openings.setdefault(event.account_id, fact)
            if isinstance(event, _ABOUT_TRANSFERS):
                name = (event.from_account_id, event.transaction_id)
                self._named.setdefault(name, []).append(fact)
                for account_id, posted, held, counterparty_id in self._effects(fact):
                    change = Change(fact, account_id, posted, held, counterparty_id, name[1])
                    self._changes.append(change)
                    self._changes_of.setdefault(account_id, []).append(change)

    # --- what happened ---

    def opening(self, account_id: str) -> Fact | None:
        self._read_on()
        return self._openings.get(account_id)

    def opened(self, account_id: str) -> AccountOpened | None:
        fact = self.opening(account_id)
        return fact.event if fact and isinstance(fact.event, AccountOpened) else None

    def named(self, payer_id: str, transaction_id: str) -> list[Fact]:
        """Everything about a transfer, oldest first."""
        self._read_on()
        return self._named.get((payer_id, transaction_id), [])

    def outcome(self, payer_id: str, transaction_id: str) -> Fact | None:
        for fact in self.named(payer_id, transaction_id):
            event = fact.event
            if isinstance(event, TransferRejected) and event.reason in NOT_REMEMBERED:
                continue
            if isinstance(event, TransferCompleted | TransferRejected | TransferFinished):
                return fact
        return None

    def start(self, payer_id: str, transaction_id: str) -> tuple[Fact, TransferStarted] | None:
        for fact in self.named(payer_id, transaction_id):
            if isinstance(fact.event, TransferStarted):
                return fact, fact.event
        return None

    def debit_steps(self, payer_id: str, transaction_id: str) -> list[Fact]:
        """The payer's side of a transfer to another partition, oldest first."""
        return [
            fact
            for fact in self.named(payer_id, transaction_id)
            if isinstance(fact.event, TransferStarted | StepTaken | TransferFinished)
            and getattr(fact.event, "step", None) not in CREDIT_STEPS
        ]

    def changes(self, sequence: int) -> Iterator[Change]:
        """What the events up to a sequence did to the accounts, in their order."""
        self._read_on()
        return (change for change in self._changes if change.fact.sequence <= sequence)

    def changes_of(self, account_id: str, sequence: int) -> Iterator[Change]:
        """What they did to one account, in their order."""
        self._read_on()
        changes = self._changes_of.get(account_id, [])
        return takewhile(lambda change: change.fact.sequence <= sequence, changes)

    def posted(self, account_id: str, sequence: int) -> int:
        return sum(each.posted for each in self.changes_of(account_id, sequence))

    def held(self, account_id: str, sequence: int) -> int:
        return sum(each.held for each in self.changes_of(account_id, sequence))

    def unfinished(self) -> list[Fact]:
        self._read_on()
        return [
            fact
            for fact in self.facts
            if isinstance(fact.event, TransferStarted)
            and self.outcome(fact.event.from_account_id, fact.event.transaction_id) is None
        ]

    def _effects(self, fact: Fact) -> Iterator[tuple[str, int, int, str]]:
        """(account, change of posted, change of held, counterparty)."""
        event = fact.event
        match event:
            case TransferCompleted():
                yield event.from_account_id, -event.amount_minor, 0, event.to_account_id
                yield event.to_account_id, event.amount_minor, 0, event.from_account_id
            case (
                TransferStarted(coordination=Coordination.CHOREOGRAPHY) | StepTaken(step=Step.DEBIT)
            ):
                yield event.from_account_id, -event.amount_minor, 0, event.to_account_id
            case StepTaken(step=Step.TRY_DEBIT):
                yield event.from_account_id, 0, event.amount_minor, event.to_account_id
            case StepTaken(step=Step.CONFIRM_DEBIT):
                amount = event.amount_minor
                yield event.from_account_id, -amount, -amount, event.to_account_id
            case StepTaken(step=Step.CREDIT | Step.CONFIRM_CREDIT | Step.COMMIT_CREDIT):
                yield event.to_account_id, event.amount_minor, 0, event.from_account_id
            case TransferFinished():
                yield self._end(event)
            case _:
                pass

    def _end(self, event: TransferFinished) -> tuple[str, int, int, str]:
        started = self.start(event.from_account_id, event.transaction_id)
        assert started is not None
        amount, payee_id = started[1].amount_minor, started[1].to_account_id
        steps = self.debit_steps(event.from_account_id, event.transaction_id)
        taken = {fact.event.step for fact in steps if isinstance(fact.event, StepTaken)}
        is_held = Step.TRY_DEBIT in taken and Step.CONFIRM_DEBIT not in taken
        held = -amount if is_held else 0
        match event.step:
            case Step.REFUND:
                return event.from_account_id, amount, 0, payee_id
            case Step.COMMIT_DEBIT:
                return event.from_account_id, -amount, 0, payee_id
            case _:
                return event.from_account_id, 0, held, payee_id

    # --- what a proxy is told ---

    def result(self, number: int, sequence: int) -> Result:
        """What is told about the event of a sequence to who asked for it."""
        fact = self.facts[sequence - 1]
        event, at_ms = fact.event, fact.at_ms
        if isinstance(event, AccountOpenRepeated | TransferRepeated):
            first = self.result(number, event.first_sequence)
            return msgspec.structs.replace(first, repeated=True)
        rejection, balance, coordination = None, 0, Coordination.NONE
        if isinstance(event, AccountOpenRejected):
            rejection, balance = event.reason, self.posted(event.account_id, sequence)
        if isinstance(event, TransferCompleted | TransferRejected | TransferFinished):
            balance = self.posted(event.from_account_id, sequence)
        if isinstance(event, TransferRejected | TransferFinished):
            rejection = event.reason
        if isinstance(event, TransferFinished):
            started = self.start(event.from_account_id, event.transaction_id)
            assert started is not None
            coordination = started[1].coordination
        return Result(
            number,
            rejection,
            balance,
            sequence,
            at_ms,
            repeated=False,
            coordination=coordination,
        )

    # --- what a query is told ---

    def account(self, account_id: str, sequence: int, *, tip: int) -> Answer:
        """The account's state at a sequence, as a reader at `tip` must tell it."""
        first = self.opening(account_id)
        if first is None or first.sequence > tip:
            return NotFound(self.partition, tip, Missing.ACCOUNT)
        if first.sequence > sequence:
            return NotFound(self.partition, sequence, Missing.MOMENT)
        assert isinstance(first.event, AccountOpened)
        return AccountAnswer(
            partition=self.partition,
            sequence=sequence,
            at_ms=self.facts[sequence - 1].at_ms,
            currency=first.event.currency,
            overdraft_limit_minor=first.event.overdraft_limit_minor,
            posted_minor=self.posted(account_id, sequence),
            held_minor=self.held(account_id, sequence),
        )

    def sequence_at(self, at_ms: int) -> int:
        return sum(fact.at_ms <= at_ms for fact in self.facts)

    def entries(
        self, account_id: str, limit: int, before_sequence: int | None, *, tip: int
    ) -> EntriesAnswer:
        entries: list[Entry] = []
        balance = 0
        for change in self.changes_of(account_id, tip):
            if change.posted:
                balance += change.posted
                entries.append(
                    Entry(
                        sequence=change.fact.sequence,
                        at_ms=change.fact.at_ms,
                        transaction_id=change.transaction_id,
                        counterparty_id=change.counterparty_id,
                        amount_minor=change.posted,
                        balance_minor=balance,
                    )
                )
        before = tip + 1 if before_sequence is None else before_sequence
        wanted = [entry for entry in reversed(entries) if entry.sequence < before]
        rest = wanted[limit:]
        opening = self.opening(account_id)
        assert opening is not None
        assert isinstance(opening.event, AccountOpened)
        return EntriesAnswer(
            partition=self.partition,
            sequence=tip,
            currency=opening.event.currency,
            entries=wanted[:limit],
            next_before_sequence=rest[0].sequence + 1 if rest else None,
        )

    def transfer(self, payer_id: str, transaction_id: str, *, tip: int) -> Answer:
        outcome, started = self.outcome(payer_id, transaction_id), None
        if outcome is None or isinstance(outcome.event, TransferFinished):
            started = self.start(payer_id, transaction_id)
        fact = outcome or (started[0] if started else None)
        if fact is None:
            return NotFound(self.partition, tip, Missing.TRANSFER)
        content = started[1] if started else fact.event
        assert isinstance(content, TransferStarted | TransferCompleted | TransferRejected)
        steps = self.debit_steps(payer_id, transaction_id) if started else []
        return TransferAnswer(
            partition=self.partition,
            sequence=fact.sequence,
            at_ms=fact.at_ms,
            to_account_id=content.to_account_id,
            amount_minor=content.amount_minor,
            currency=content.currency,
            rejection=self.result(0, fact.sequence).rejection,
            balance_minor=self.posted(payer_id, fact.sequence),
            coordination=started[1].coordination if started else Coordination.NONE,
            is_finished=outcome is not None,
            steps=[self._step_record(step) for step in steps],
        )

    def credit_steps(
        self, payee_id: str, payer_id: str, transaction_id: str, *, tip: int
    ) -> CreditStepsAnswer:
        steps = [
            fact
            for fact in self.named(payer_id, transaction_id)
            if isinstance(fact.event, StepTaken | StepRefused)
            and fact.event.step in CREDIT_STEPS
            and fact.event.to_account_id == payee_id
        ]
        return CreditStepsAnswer(self.partition, tip, [self._step_record(step) for step in steps])

    def unfinished_answer(self, limit: int, *, tip: int, at_ms: int) -> UnfinishedAnswer:
        unfinished = self.unfinished()
        return UnfinishedAnswer(
            partition=self.partition,
            sequence=tip,
            at_ms=at_ms,
            count=len(unfinished),
            transfers=[self._unfinished_transfer(fact) for fact in unfinished[:limit]],
        )

    def _unfinished_transfer(self, start: Fact) -> UnfinishedTransfer:
        event = start.event
        assert isinstance(event, TransferStarted)
        newest = self.debit_steps(event.from_account_id, event.transaction_id)[-1]
        return UnfinishedTransfer(
            event.from_account_id,
            event.to_account_id,
            event.amount_minor,
            event.currency,
            event.transaction_id,
            event.coordination,
            start.sequence,
            start.at_ms,
            self._step_record(newest).step,
        )

    def _step_record(self, fact: Fact) -> StepRecord:
        event = fact.event
        return StepRecord(
            step=getattr(event, "step", None),
            partition=self.partition,
            sequence=fact.sequence,
            at_ms=fact.at_ms,
            reason=getattr(event, "reason", None),
        )
