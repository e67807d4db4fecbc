"""One partition's rules: what a message causes (decide) and what an event did (evolve).

Pure: order, time and identity are settled before a message gets here, so the same events and the
same message always give the same answer. `decide` only reads; `evolve` never refuses.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import assert_never

from contracts.commands import OpenAccount, Transfer
from contracts.events import (
    AccountOpened,
    AccountOpenRejected,
    AccountOpenRepeated,
    CoordinationBegun,
    CoordinationTimedOut,
    EpochOpened,
    Event,
    StepAnswerRecorded,
    StepRefused,
    StepTaken,
    TransferAwaited,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferRepeated,
    TransferStarted,
)
from contracts.parties import COORDINATOR
from contracts.partitioning import SlotMap
from contracts.rejections import NOT_REMEMBERED, Rejection
from contracts.steps import Coordinate, StepAnswered, TakeStep, Tick
from writer.core.accounts import Accounts
from writer.core.blocks import Thaw
from writer.core.coordination import WAYS, SideState
from writer.core.idempotency import Outcomes
from writer.core.rules import Message, Outgoing
from writer.core.sides import Side, Sides, account_of, content_of, late, named


class Partition:
    """Rules of one partition, and the state that its events add up to."""

    def __init__(self, number: int, slots: SlotMap) -> None:
        self._number = number
        self._slots = slots
        self._is_only = slots.partition_count == 1
        self.accounts = Accounts()
        self.outcomes = Outcomes()
        """Of transfers whose payer is here, and of credits to payees here: their names differ."""
        self.sides = Sides(self.accounts, self.outcomes)
        self.released = self.sides.released

    @property
    def fingerprint_key(self) -> bytes | None:
        """See Rules."""
        known = self.outcomes.fingerprints
        return None if known is None else known.key

    @property
    def unfinished_count(self) -> int:
        """See Rules."""
        return len(self.sides.payers)

    @property
    def oldest_started_at_ms(self) -> int:
        """See Rules."""
        oldest = next(iter(self.sides.payers.values()), None)
        return 0 if oldest is None else oldest.started_at_ms

    def due(self, at_ms: int) -> list[Event]:
        """See Rules: holds expire."""
        return self.sides.expired(at_ms)

    def starts(self, message: Message) -> bool:
        """See Rules."""
        return (
            isinstance(message, Transfer)
            and not self._owns(message.to_account_id)
            and self._decide_again(message) is None
        )

    def waits_for(self, message: Message) -> int | None:
        """See Rules: what would use a locked account waits for its row.

        Steps that end something pass: they leave what a vote relied on as it was.
        """
        if not self.sides.locked_rows:
            return None
        for account_id in self._used_by(message):
            row = self.sides.locked_row(account_id)
            if row is not None:
                return None if self._is_known(message) else row
        return None

    def _is_known(self, message: Message) -> bool:
        """Whether the message came before, so that it changes nothing any more."""
        if isinstance(message, Transfer):
            return self._decide_again(message) is not None
        return isinstance(message, TakeStep) and self.outcomes.find(*named(message)) is not None

    def _used_by(self, message: Message) -> tuple[str, ...]:
        """The accounts that a message looks at or changes as if it were alone with them."""
        if isinstance(message, TakeStep):
            return (account_of(message),) if self.sides.may_refuse(message) else ()
        if not isinstance(message, Transfer):
            return ()
        if self._owns(message.to_account_id):
            return message.from_account_id, message.to_account_id
        takes_money = WAYS[message.coordination].start.may_be_refused
        return (message.from_account_id,) if takes_money else ()

    def decide(self, message: Message) -> Event | None:
        """See Rules."""
        match message:
            case Transfer():
                return self._decide_transfer(message)
            case TakeStep():
                return self.sides.decide(message)
            case StepAnswered():
                return self.sides.decide_answer(message)
            case OpenAccount():
                return self._decide_opening(message)
            case Tick() | Coordinate():
                return None
            case _:
                assert_never(message)

    def evolve(self, event: Event, sequence: int, at_ms: int) -> None:  # noqa: C901  # a case per kind
        """See Rules."""
        match event:
            case TransferCompleted():
                row_of = self.accounts.row_of
                self.accounts.move(
                    row_of[event.from_account_id], row_of[event.to_account_id], event.amount_minor
                )
                self.outcomes.remember(event, sequence, None)
            case StepTaken():
                self.sides.take(event, sequence, at_ms)
            case TransferStarted():
                self.sides.start(event, at_ms)
            case TransferFinished():
                self.sides.finish(event, sequence)
            case TransferRejected() | StepRefused():
                if event.reason not in NOT_REMEMBERED:
                    self.outcomes.remember(event, sequence, event.reason)
            case AccountOpened():
                self.accounts.open(
                    event.account_id, event.currency, event.overdraft_limit_minor, sequence
                )
            case EpochOpened():
                self.outcomes.set_key(event.fingerprint_key)
            case (
                TransferRepeated()
                | TransferAwaited()
                | AccountOpenRepeated()
                | AccountOpenRejected()
            ):
                pass
            case CoordinationBegun() | StepAnswerRecorded() | CoordinationTimedOut():
                raise AssertionError("an event of a coordinator's journal")
            case _:
                assert_never(event)

    def after(self, message: Message | None, event: Event | None) -> Iterable[Outgoing]:
        """See Rules."""
        if isinstance(event, TransferStarted):
            side = self.sides.payers[event.from_account_id, event.transaction_id]
            return self._asked_for([side])
        if isinstance(message, TakeStep):
            answer = self.sides.answer(message, event)
            return () if answer is None else (Outgoing(message.reply_to, answer),)
        if isinstance(message, Tick):
            return self._asked_for([side for side in self.sides.payers.values() if late(side)])
        return ()

    def unanswered(self) -> Iterable[Outgoing]:
        """See Rules."""
        return self._asked_for(self.sides.payers.values())

    def begin_reign(self) -> None:
        """See Rules."""
        for side in self.sides.payers.values():
            side.ticks = 0

    def check(self) -> None:
        """See Rules: posted amounts and what left the partition sum to 0."""
        sums = defaultdict(int, self.sides.net_sent_minor)
        for name, amount in zip(self.accounts.currency, self.accounts.posted_minor, strict=True):
            sums[name] += amount
        _check_sums(sums)

    def freeze(self) -> Iterator[bytes]:
        """See Rules. What `check` asserts is asserted of the blocks too."""
        sums = dict(self.sides.net_sent_minor)
        accounts, outcomes = self.accounts.freeze(sums), self.outcomes.freeze()
        return chain(accounts, _once_summed(sums), outcomes, self.sides.freeze())

    def thaw(self) -> Thaw:
        """See Rules."""
        yield from self.accounts.thaw()
        yield from self.outcomes.thaw()
        yield from self.sides.thaw()

    def _asked_for(self, sides: Iterable[Side]) -> list[Outgoing]:
        """What payers' sides ask of others in their present states."""
        asked = []
        for side in sides:
            step = WAYS[side.coordination].asks.get(side.state)
            if step is not None:
                payee = self._slots.partition_of(side.to_account_id)
                asked.append(Outgoing(payee, TakeStep(step, *content_of(side), self._number)))
            elif side.state is SideState.STARTED:
                message = Coordinate(*content_of(side), side.coordination)
                asked.append(Outgoing(COORDINATOR, message))
        return asked

    # --- opening an account ---

    def _decide_opening(self, command: OpenAccount) -> Event:
        # Checks run in the order of the Rejection enum: the first failure wins.
        if not self._owns(command.account_id):
            return AccountOpenRejected(command.account_id, Rejection.WRONG_PARTITION)
        accounts = self.accounts
        row = accounts.row_of.get(command.account_id)
        if row is None:
            return AccountOpened(
                command.account_id, command.currency, command.overdraft_limit_minor
            )
        if (
            accounts.currency[row] == command.currency
            and accounts.overdraft_limit_minor[row] == command.overdraft_limit_minor
        ):
            return AccountOpenRepeated(command.account_id, accounts.opened_sequence[row])
        return AccountOpenRejected(command.account_id, Rejection.ACCOUNT_EXISTS)

    # --- moving money ---

    def _decide_transfer(self, command: Transfer) -> Event:
        if not self._owns(command.from_account_id):
            return TransferRejected(*content_of(command), Rejection.WRONG_PARTITION)
        again = self._decide_again(command)
        if again is not None:
            return again
        if self._owns(command.to_account_id):
            reason = self._refusal(command)
            if reason is None:
                return TransferCompleted(*content_of(command))
        else:
            reason = self._refusal_to_start(command)
            if reason is None:
                return TransferStarted(*content_of(command), command.coordination)
        return TransferRejected(*content_of(command), reason)

    def _decide_again(self, command: Transfer) -> Event | None:
        """The answer to a name that is taken, None if it is free."""
        payer_id, transaction_id = command.from_account_id, command.transaction_id
        side = self.sides.payers.get((payer_id, transaction_id))
        if side is not None:
            if content_of(side) != content_of(command):
                return TransferRejected(*content_of(command), Rejection.IDEMPOTENCY_CONFLICT)
            return TransferAwaited(payer_id, transaction_id)
        outcome = self.outcomes.find(payer_id, transaction_id)
        if outcome is None:
            return None
        if outcome.content != self.outcomes.content(command):
            return TransferRejected(*content_of(command), Rejection.IDEMPOTENCY_CONFLICT)
        return TransferRepeated(payer_id, transaction_id, outcome.first_sequence)

    def _refusal(self, command: Transfer) -> Rejection | None:
        """The first reason, in the order of the Rejection enum, not to move the money here."""
        accounts = self.accounts
        if command.from_account_id == command.to_account_id:
            return Rejection.SAME_ACCOUNT
        payer = accounts.row_of.get(command.from_account_id)
        if payer is None:
            return Rejection.FROM_ACCOUNT_NOT_FOUND
        payee = accounts.row_of.get(command.to_account_id)
        if payee is None:
            return Rejection.TO_ACCOUNT_NOT_FOUND
        if not accounts.currency[payer] == command.currency == accounts.currency[payee]:
            return Rejection.CURRENCY_MISMATCH
        if command.amount_minor > accounts.available_minor(payer):
            return Rejection.INSUFFICIENT_FUNDS
        if command.amount_minor > accounts.room_minor(payee):
            return Rejection.BALANCE_LIMIT_EXCEEDED
        return None

    def _refusal_to_start(self, command: Transfer) -> Rejection | None:
        """As `_refusal`, of what this partition knows when the payee lives in another.

        Where the start moves nothing, funds are looked at when the payer's first step is taken.
        """
        payer = self.accounts.row_of.get(command.from_account_id)
        if payer is None:
            return Rejection.FROM_ACCOUNT_NOT_FOUND
        start = WAYS[command.coordination].start
        if start.may_be_refused:
            return self.sides.refusal_of_move(payer, start, command.amount_minor, command.currency)
        if self.accounts.currency[payer] != command.currency:
            return Rejection.CURRENCY_MISMATCH
        return None

    def _owns(self, account_id: str) -> bool:
        return self._is_only or self._slots.partition_of(account_id) == self._number


def _once_summed(sums: dict[str, int]) -> Iterator[bytes]:
    """No block: the accounts' are made, so their sums are complete."""
    _check_sums(sums)
    yield from ()


def _check_sums(sums: dict[str, int]) -> None:
    assert not any(sums.values()), f"money was made or lost: {sums}"
