"""One partition's rules: what a command causes (decide) and what an event did (evolve).

Pure: order, time and identity are settled before a command gets here, so the same events and the
same command always give the same answer. `decide` only reads; `evolve` never refuses.
"""

from typing import assert_never

from contracts.commands import Command, OpenAccount, Transfer
from contracts.events import (
    AccountOpened,
    AccountOpenRejected,
    AccountOpenRepeated,
    EpochOpened,
    Event,
    TransferCompleted,
    TransferRejected,
    TransferRepeated,
)
from contracts.partitioning import partition_of
from contracts.rejections import NOT_REMEMBERED, Rejection
from writer.core.accounts import Accounts
from writer.core.idempotency import DecidedTransfers, Fingerprints


class Partition:
    """The state that a partition's events add up to."""

    def __init__(self, number: int, partition_count: int) -> None:
        self._number = number
        self._partition_count = partition_count
        self.accounts = Accounts()
        self.transfers = DecidedTransfers()
        self.fingerprints: Fingerprints | None = None
        """Known once the first epoch is opened, so before any command."""

    def decide(self, command: Command) -> Event:
        """Answer a command with the event it causes."""
        match command:
            case Transfer():
                return self._decide_transfer(command)
            case OpenAccount():
                return self._decide_opening(command)
            case _:
                assert_never(command)

    def evolve(self, event: Event, sequence: int) -> None:
        """Change the state as the event says; sequence is the event's."""
        match event:
            case TransferCompleted():
                row_of = self.accounts.row_of
                self.accounts.move(
                    row_of[event.from_account_id], row_of[event.to_account_id], event.amount_minor
                )
                self._remember(event, sequence)
            case TransferRejected():
                if event.reason not in NOT_REMEMBERED:
                    self._remember(event, sequence)
            case AccountOpened():
                self.accounts.open(
                    event.account_id, event.currency, event.overdraft_limit_minor, sequence
                )
            case EpochOpened():
                if self.fingerprints is None:
                    self.fingerprints = Fingerprints(event.fingerprint_key)
            case TransferRepeated() | AccountOpenRepeated() | AccountOpenRejected():
                pass
            case _:
                assert_never(event)

    def _remember(self, event: TransferCompleted | TransferRejected, sequence: int) -> None:
        fingerprints = self._known_fingerprints()
        self.transfers.remember(
            fingerprints.name(event.from_account_id, event.transaction_id),
            sequence,
            fingerprints.content(event.to_account_id, event.amount_minor, event.currency),
        )

    def _known_fingerprints(self) -> Fingerprints:
        assert self.fingerprints is not None, "a journal begins with an epoch"
        return self.fingerprints

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
            return _rejected(command, Rejection.WRONG_PARTITION)
        fingerprints = self._known_fingerprints()
        name = fingerprints.name(command.from_account_id, command.transaction_id)
        decided = self.transfers.find(name)
        if decided is not None:
            if decided.content != fingerprints.content(
                command.to_account_id, command.amount_minor, command.currency
            ):
                return _rejected(command, Rejection.IDEMPOTENCY_CONFLICT)
            return TransferRepeated(
                command.from_account_id, command.transaction_id, decided.first_sequence
            )
        reason = self._refusal(command)
        if reason is not None:
            return _rejected(command, reason)
        return TransferCompleted(
            command.from_account_id,
            command.to_account_id,
            command.amount_minor,
            command.currency,
            command.transaction_id,
        )

    def _refusal(self, command: Transfer) -> Rejection | None:
        """The first reason, in the order of the Rejection enum, not to move the money."""
        accounts = self.accounts
        if command.from_account_id == command.to_account_id:
            return Rejection.SAME_ACCOUNT
        if not self._owns(command.to_account_id):
            return Rejection.CROSS_PARTITION_NOT_SUPPORTED
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

    def _owns(self, account_id: str) -> bool:
        return (
            self._partition_count == 1
            or partition_of(account_id, self._partition_count) == self._number
        )


def _rejected(command: Transfer, reason: Rejection) -> TransferRejected:
    return TransferRejected(
        command.from_account_id,
        command.to_account_id,
        command.amount_minor,
        command.currency,
        command.transaction_id,
        reason,
    )
