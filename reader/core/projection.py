"""One partition's projection: a fold of its journal into balances, results and rows.

It owns the columns of the accounts in memory. It knows no broker and no store: frames that
count (see contracts.chain) come in, results for the proxies come out, rows for the store collect
in `unstored`.
"""

from array import array
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, NamedTuple

from contracts.events import (
    AccountOpened,
    AccountOpenRejected,
    AccountOpenRepeated,
    EpochOpened,
    TransferCompleted,
    TransferRejected,
    TransferRepeated,
)
from contracts.frames import EventFrame
from contracts.rejections import NOT_REMEMBERED, Rejection
from contracts.results import Result
from reader.core.rows import AccountRow, Cursor, RecordedRow, RejectionRow, TransferRow
from reader.core.unstored import Unstored

MARK_DISTANCE: Final = 32
"""Every so many entries of an account one is marked, so that a page deep in a long statement is
found without walking there. A power of two."""

_BEFORE_ANY_TIME: Final = -1


class Account(NamedTuple):
    """One account as it is now."""

    number: int
    currency: str
    overdraft_limit_minor: int
    posted_minor: int
    opened_sequence: int
    newest_sequence: int
    """Of its newest entry, 0 if it has none."""


class Projection:
    """The accounts of one partition at `cursor`, and what happened to them."""

    def __init__(
        self,
        accounts: Iterable[AccountRow],
        cursor: Cursor,
        unstored: Unstored,
        stored_row: Callable[[int], RecordedRow | None],
    ) -> None:
        """Continue from the accounts as of a cursor, in the order of their numbers.

        stored_row finds the transfer or rejection of a sequence that is no longer in `unstored`.
        """
        self.cursor = cursor
        self.unstored = unstored
        self._stored_row = stored_row
        self._at_ms = cursor.tip.at_ms if cursor.stream_sequence else _BEFORE_ANY_TIME
        self._numbers: dict[str, int] = {}
        self._ids: list[str] = []
        self._currencies: list[str] = []
        self._overdraft_limits = array("q")
        self._posted = array("q")
        self._opened_sequences = array("q")
        self._opened_at_ms = array("q")
        self._newest = array("q")
        self._entry_counts = array("q")
        # Looked up by type, because a dict is the quickest way to the most frequent event.
        self._appliers: dict[type, Callable[[Any, int, int, int], Result | None]] = {
            EpochOpened: self._epoch_opened,
            AccountOpened: self._account_opened,
            AccountOpenRepeated: self._account_open_repeated,
            AccountOpenRejected: self._account_open_rejected,
            TransferCompleted: self._transfer_completed,
            TransferRejected: self._transfer_rejected,
            TransferRepeated: self._transfer_repeated,
        }
        for row in accounts:
            self._add_account(row)

    @property
    def account_count(self) -> int:
        """Accounts opened so far."""
        return len(self._ids)

    def account(self, account_id: str) -> Account | None:
        """One account now, None if it was never opened here."""
        number = self._numbers.get(account_id)
        if number is None:
            return None
        return Account(
            number=number,
            currency=self._currencies[number],
            overdraft_limit_minor=self._overdraft_limits[number],
            posted_minor=self._posted[number],
            opened_sequence=self._opened_sequences[number],
            newest_sequence=self._newest[number],
        )

    def account_id(self, number: int) -> str:
        """The id of a numbered account."""
        return self._ids[number]

    def apply(self, frame: EventFrame, cursor: Cursor) -> dict[str, list[Result]]:
        """Take the frame that leads to a cursor; give each proxy's results in order."""
        results: dict[str, list[Result]] = {}
        appliers = self._appliers
        sequence = frame.first_sequence
        events = iter(frame.events)
        for source in frame.sources:
            at_ms = source.at_ms
            if at_ms != self._at_ms:
                self._at_ms = at_ms
                self.unstored.pending.moments.append((sequence, at_ms))
            answers = results.setdefault(source.proxy_id, [])
            request_number = source.first_request
            for event in islice(events, source.count):
                result = appliers[type(event)](event, sequence, at_ms, request_number)
                if result is not None:
                    answers.append(result)
                sequence += 1
                request_number += 1
        assert sequence == cursor.tip.sequence + 1, "the chain counts as the projection does"
        self.cursor = self.unstored.pending.cursor = cursor
        results.pop("", None)  # events without a command
        return results

    # --- one event each: (event, sequence, at_ms, request_number) → its result ---

    def _epoch_opened(self, _event: EpochOpened, _sequence: int, _at_ms: int, _number: int) -> None:
        """Nobody asked for it."""

    def _account_opened(
        self, event: AccountOpened, sequence: int, at_ms: int, request_number: int
    ) -> Result:
        row = AccountRow(
            number=len(self._ids),
            account_id=event.account_id,
            currency=event.currency,
            overdraft_limit_minor=event.overdraft_limit_minor,
            opened_sequence=sequence,
            opened_at_ms=at_ms,
        )
        self._add_account(row)
        self.unstored.pending.accounts.append(row)
        return Result(request_number, None, 0, sequence, at_ms, False)  # noqa: FBT003  # hot path

    def _account_open_repeated(
        self, event: AccountOpenRepeated, _sequence: int, _at_ms: int, request_number: int
    ) -> Result:
        number = self._numbers[event.account_id]
        return Result(
            request_number=request_number,
            rejection=None,
            balance_minor=0,
            sequence=self._opened_sequences[number],
            at_ms=self._opened_at_ms[number],
            repeated=True,
        )

    def _account_open_rejected(
        self, event: AccountOpenRejected, sequence: int, at_ms: int, request_number: int
    ) -> Result:
        return Result(
            request_number=request_number,
            rejection=event.reason,
            balance_minor=self._posted_minor(event.account_id),
            sequence=sequence,
            at_ms=at_ms,
            repeated=False,
        )

    def _transfer_completed(
        self, event: TransferCompleted, sequence: int, at_ms: int, request_number: int
    ) -> Result:
        # The hot path: every line here is paid for by every transfer.
        payer_id = event.from_account_id
        payer = self._numbers[payer_id]
        payee = self._numbers[event.to_account_id]
        transaction_id = event.transaction_id
        amount_minor = event.amount_minor
        posted = self._posted
        posted[payer] = payer_balance = posted[payer] - amount_minor
        posted[payee] = payee_balance = posted[payee] + amount_minor
        newest = self._newest
        pending = self.unstored.pending
        pending.transfers.append(
            (
                sequence,
                at_ms,
                payer,
                payee,
                transaction_id,
                amount_minor,
                payer_balance,
                payee_balance,
                newest[payer],
                newest[payee],
            )
        )
        pending.names[payer_id, transaction_id] = sequence
        newest[payer] = newest[payee] = sequence
        counts = self._entry_counts
        counts[payer] = count = counts[payer] + 1
        if not count % MARK_DISTANCE:
            pending.marks.append((payer, sequence))
        counts[payee] = count = counts[payee] + 1
        if not count % MARK_DISTANCE:
            pending.marks.append((payee, sequence))
        return Result(request_number, None, payer_balance, sequence, at_ms, False)  # noqa: FBT003  # positional is quicker

    def _transfer_rejected(
        self, event: TransferRejected, sequence: int, at_ms: int, request_number: int
    ) -> Result:
        balance_minor = self._posted_minor(event.from_account_id)
        if event.reason not in NOT_REMEMBERED:
            row = RejectionRow(
                sequence=sequence,
                at_ms=at_ms,
                payer_id=event.from_account_id,
                payee_id=event.to_account_id,
                transaction_id=event.transaction_id,
                amount_minor=event.amount_minor,
                currency=event.currency,
                reason=int(event.reason),
                balance_minor=balance_minor,
            )
            pending = self.unstored.pending
            pending.rejections.append(row)
            pending.names[row.payer_id, row.transaction_id] = sequence
        return Result(
            request_number=request_number,
            rejection=event.reason,
            balance_minor=balance_minor,
            sequence=sequence,
            at_ms=at_ms,
            repeated=False,
        )

    def _transfer_repeated(
        self, event: TransferRepeated, _sequence: int, _at_ms: int, request_number: int
    ) -> Result:
        row = self.unstored.row(event.first_sequence) or self._stored_row(event.first_sequence)
        assert row is not None, f"sequence {event.first_sequence} has an outcome to repeat"
        rejection, balance_minor = None, 0
        match row:
            case RejectionRow():
                rejection, balance_minor = Rejection(row.reason), row.balance_minor
            case TransferRow():
                balance_minor = row.payer_balance_minor
        return Result(
            request_number=request_number,
            rejection=rejection,
            balance_minor=balance_minor,
            sequence=row.sequence,
            at_ms=row.at_ms,
            repeated=True,
        )

    # --- columns ---

    def _add_account(self, row: AccountRow) -> None:
        assert row.number == len(self._ids), "accounts are numbered in the order of their opening"
        assert row.account_id not in self._numbers, "an account is opened once"
        self._numbers[row.account_id] = row.number
        self._ids.append(row.account_id)
        self._currencies.append(row.currency)
        self._overdraft_limits.append(row.overdraft_limit_minor)
        self._posted.append(row.posted_minor)
        self._opened_sequences.append(row.opened_sequence)
        self._opened_at_ms.append(row.opened_at_ms)
        self._newest.append(row.newest_sequence)
        self._entry_counts.append(row.entry_count)

    def _posted_minor(self, account_id: str) -> int:
        number = self._numbers.get(account_id)
        return 0 if number is None else self._posted[number]
