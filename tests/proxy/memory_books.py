"""The books of a wallet in memory: accounts, transfers, and the events that they made.

It decides by the rules of the contracts, at once and without frames. A transfer between
partitions takes its steps one after the other, unless it is told to stay under way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from contracts.commands import OpenAccount, Transfer
from contracts.coordination import CREDIT_STEPS, Coordination, Step
from contracts.partitioning import SlotMap
from contracts.queries import Entry, StepRecord
from contracts.rejections import NOT_REMEMBERED, Rejection
from contracts.results import Result

Name = tuple[str, str]

FIRST_MS: Final = 1_900_000_000_000
"""Time of the first event; each later one of the wallet is a second later."""

DONE: Final = {
    Coordination.CHOREOGRAPHY: (Step.CREDIT, Step.COMPLETE),
    Coordination.ORCHESTRATION: (Step.DEBIT, Step.CREDIT, Step.COMPLETE),
    Coordination.TCC: (
        Step.TRY_DEBIT,
        Step.TRY_CREDIT,
        Step.CONFIRM_DEBIT,
        Step.CONFIRM_CREDIT,
        Step.COMPLETE,
    ),
    Coordination.TWO_PHASE_COMMIT: (
        Step.PREPARE_DEBIT,
        Step.PREPARE_CREDIT,
        Step.COMMIT_CREDIT,
        Step.COMMIT_DEBIT,
    ),
}
"""The steps of a transfer between partitions when the payee takes it."""

UNDONE: Final = {
    Coordination.CHOREOGRAPHY: (Step.CREDIT, Step.REFUND),
    Coordination.ORCHESTRATION: (Step.DEBIT, Step.CREDIT, Step.REFUND),
    Coordination.TCC: (Step.TRY_DEBIT, Step.TRY_CREDIT, Step.CANCEL_DEBIT, Step.CANCEL_CREDIT),
    Coordination.TWO_PHASE_COMMIT: (
        Step.PREPARE_DEBIT,
        Step.PREPARE_CREDIT,
        Step.ABORT_DEBIT,
        Step.ABORT_CREDIT,
    ),
}
"""The same when the payee's first step is refused."""

GIVING: Final = {Step.CREDIT, Step.CONFIRM_CREDIT, Step.COMMIT_CREDIT}
"""The steps in which the payee gets the amount."""

DECIDING: Final = {
    Step.COMPLETE,
    Step.REFUND,
    Step.CANCEL_DEBIT,
    Step.COMMIT_DEBIT,
    Step.ABORT_DEBIT,
}
"""The last steps of the payer's side."""


@dataclass
class Account:
    """One account's books."""

    opening: OpenAccount
    opened_sequence: int
    entries: list[Entry] = field(default_factory=list)

    def posted(self, sequence: int | None = None) -> int:
        """Posted balance now or just after a sequence."""
        counted = [
            entry for entry in self.entries if sequence is None or entry.sequence <= sequence
        ]
        return counted[-1].balance_minor if counted else 0

    def available(self) -> int:
        """What a debit may take."""
        return self.posted() + self.opening.overdraft_limit_minor


@dataclass
class Known:
    """A transfer that has a name for ever; no result: it is under way."""

    command: Transfer
    result: Result | None
    started: Result | None = None
    steps: list[StepRecord] = field(default_factory=list)


class Books:
    """All of a wallet. While `is_stalled`, transfers between partitions are not finished."""

    def __init__(self, partition_count: int) -> None:
        self.slots = SlotMap.even(partition_count)
        self.is_stalled = False
        self.idle_ms = 0
        """What has passed since the newest event."""
        self.accounts: dict[str, Account] = {}
        self.transfers: dict[Name, Known] = {}
        self.times: list[list[int]] = [[] for _ in range(partition_count)]
        """Of each partition's events, in the order of their sequences."""

    def partition_of(self, account_id: str) -> int:
        """Where an account lives."""
        return self.slots.partition_of(account_id)

    def now_ms(self) -> int:
        """The present."""
        return max((times[-1] for times in self.times if times), default=FIRST_MS) + self.idle_ms

    def finish(self) -> None:
        """Finish what is under way, and stall no more."""
        self.is_stalled = False
        for known in self.transfers.values():
            if known.result is None:
                self._finish(known)

    def _event(self, partition: int) -> tuple[int, int]:
        """Sequence and time of the next event."""
        at_ms = FIRST_MS + sum(map(len, self.times)) * 1_000
        self.times[partition].append(at_ms)
        return len(self.times[partition]), at_ms

    def _decided(
        self,
        account_id: str,
        rejection: Rejection | None,
        balance_minor: int = 0,
        coordination: Coordination = Coordination.NONE,
    ) -> Result:
        sequence, at_ms = self._event(self.partition_of(account_id))
        return Result(
            1,
            rejection,
            balance_minor,
            sequence,
            at_ms,
            repeated=False,
            coordination=coordination,
        )

    def open(self, command: OpenAccount) -> Result:
        """Open an account."""
        known = self.accounts.get(command.account_id)
        if known is None:
            result = self._decided(command.account_id, None)
            self.accounts[command.account_id] = Account(command, result.sequence)
            return result
        if known.opening != command:
            return self._decided(command.account_id, Rejection.ACCOUNT_EXISTS)
        sequence = known.opened_sequence
        at_ms = self.times[self.partition_of(command.account_id)][sequence - 1]
        return Result(1, None, 0, sequence, at_ms, repeated=True)

    def transfer(self, command: Transfer) -> Result | None:
        """Make a transfer; None if it is under way."""
        name = (command.from_account_id, command.transaction_id)
        known = self.transfers.get(name)
        if known is not None:
            if replace(known.command, coordination=command.coordination) != command:
                return self._decided(command.from_account_id, Rejection.IDEMPOTENCY_CONFLICT)
            return None if known.result is None else replace(known.result, repeated=True)
        refusal = self._refusal(command)
        if refusal is None and self._is_between_partitions(command):
            known = self.transfers[name] = self._start(command)
            if not self.is_stalled:
                self._finish(known)
            return known.result
        result = self._decide(command, refusal)
        if result.rejection not in NOT_REMEMBERED:
            self.transfers[name] = Known(command, result)
        return result

    def _is_between_partitions(self, command: Transfer) -> bool:
        return self.partition_of(command.from_account_id) != self.partition_of(
            command.to_account_id
        )

    def _decide(self, command: Transfer, refusal: Rejection | None) -> Result:
        payer = self.accounts.get(command.from_account_id)
        if refusal is not None:
            balance_minor = payer.posted() if payer else 0
            return self._decided(command.from_account_id, refusal, balance_minor)
        assert payer is not None
        balance_minor = payer.posted() - command.amount_minor
        result = self._decided(command.from_account_id, None, balance_minor)
        self._post(command, result.sequence, result.at_ms, is_debit=True)
        self._post(command, result.sequence, result.at_ms, is_debit=False)
        return result

    def _post(self, command: Transfer, sequence: int, at_ms: int, *, is_debit: bool) -> None:
        """Write one side of a transfer into its account's books."""
        account_id, other = command.from_account_id, command.to_account_id
        if not is_debit:
            account_id, other = other, account_id
        account = self.accounts[account_id]
        minor = -command.amount_minor if is_debit else command.amount_minor
        entry = Entry(
            sequence=sequence,
            at_ms=at_ms,
            transaction_id=command.transaction_id,
            counterparty_id=other,
            amount_minor=minor,
            balance_minor=account.posted() + minor,
        )
        account.entries.append(entry)

    def _refusal(self, command: Transfer) -> Rejection | None:
        """What the payer's partition can tell; within one partition, everything."""
        payer = self.accounts.get(command.from_account_id)
        if command.from_account_id == command.to_account_id:
            return Rejection.SAME_ACCOUNT
        if payer is None:
            return Rejection.FROM_ACCOUNT_NOT_FOUND
        refusal = None
        if not self._is_between_partitions(command):
            refusal = self._payees_refusal(command)
        if refusal is not None and refusal < Rejection.INSUFFICIENT_FUNDS:
            return refusal
        if payer.opening.currency != command.currency:
            return Rejection.CURRENCY_MISMATCH
        if command.amount_minor > payer.available():
            return Rejection.INSUFFICIENT_FUNDS
        return refusal

    def _payees_refusal(self, command: Transfer) -> Rejection | None:
        payee = self.accounts.get(command.to_account_id)
        if payee is None:
            return Rejection.TO_ACCOUNT_NOT_FOUND
        if payee.opening.currency != command.currency:
            return Rejection.CURRENCY_MISMATCH
        if payee.posted() + command.amount_minor >= 2**63:
            return Rejection.BALANCE_LIMIT_EXCEEDED
        return None

    # --- transfers between partitions ---

    def _start(self, command: Transfer) -> Known:
        started = self._decided(command.from_account_id, None)
        known = Known(command, result=None, started=started)
        partition = self.partition_of(command.from_account_id)
        known.steps.append(StepRecord(None, partition, started.sequence, started.at_ms, None))
        return known

    def _finish(self, known: Known) -> None:
        command = known.command
        reason = self._payees_refusal(command)
        for step in (DONE if reason is None else UNDONE)[command.coordination]:
            self._take(known, step, reason)

    def _take(self, known: Known, step: Step, reason: Rejection | None) -> None:
        command = known.command
        is_credit = step in CREDIT_STEPS
        partition = self.partition_of(
            command.to_account_id if is_credit else command.from_account_id
        )
        sequence, at_ms = self._event(partition)
        is_refused = step in {Step.CREDIT, Step.TRY_CREDIT, Step.PREPARE_CREDIT}
        shown = reason if is_refused or step in DECIDING else None
        known.steps.append(StepRecord(step, partition, sequence, at_ms, shown))
        if step in GIVING and reason is None:
            self._post(command, sequence, at_ms, is_debit=False)
        if step in DECIDING:
            if reason is None:
                self._post(command, sequence, at_ms, is_debit=True)
            balance_minor = self.accounts[command.from_account_id].posted()
            known.result = Result(
                1,
                reason,
                balance_minor,
                sequence,
                at_ms,
                repeated=False,
                coordination=command.coordination,
            )
