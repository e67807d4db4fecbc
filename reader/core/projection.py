"""One partition's projection: a fold of its journal into balances, results and rows.

It owns the columns of the accounts in memory. It knows no broker and no store: frames that
count (see contracts.chain) come in, results for the proxies come out, rows for the store collect
in `unstored`.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

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
from reader.core.accounts import MARK_DISTANCE, Account, Accounts
from reader.core.coordinated import CoordinatedTransfers, outcome_result
from reader.core.rows import (
    AccountRow,
    Cursor,
    NotAtHand,
    RecordedRow,
    RejectionRow,
    StepRow,
    TransferRow,
    UnfinishedRow,
)
from reader.core.unstored import Unstored


class Projection:
    """The accounts of one partition at `cursor`, and what happened to them."""

    def __init__(
        self,
        accounts: Iterable[AccountRow],
        unfinished: Iterable[UnfinishedRow],
        cursor: Cursor,
        unstored: Unstored,
        stored_row: Callable[[int], RecordedRow | None],
        *,
        at_ms: int,
    ) -> None:
        """Continue from the accounts and the unfinished transfers as of a cursor.

        Accounts come in the order of their numbers, transfers in that of their starts. at_ms is
        the time of the newest event, BEFORE_ANY_TIME if there is none. stored_row finds the row
        of a sequence that is no longer in `unstored`, or raises NotAtHand.
        """
        self.cursor = cursor
        self.at_ms = at_ms
        """Time of the newest event. The tip's can be later: that of a source without events."""
        self.unstored = unstored
        self._stored_row = stored_row
        self._accounts = columns = Accounts(accounts, unstored)
        self.coordinated = CoordinatedTransfers(columns, unstored, unfinished)
        # The hot path's own names of the columns.
        self._numbers = columns.numbers
        self._posted = columns.posted
        self._newest = columns.newest
        self._entry_counts = columns.entry_counts
        # Looked up by type, because a dict is the quickest way to the most frequent event.
        self._appliers: dict[type, Callable[[Any, int, int, int], Result | None]] = {
            EpochOpened: self._epoch_opened,
            AccountOpened: self._account_opened,
            AccountOpenRepeated: self._account_open_repeated,
            AccountOpenRejected: self._account_open_rejected,
            TransferCompleted: self._transfer_completed,
            TransferRejected: self._transfer_rejected,
            TransferRepeated: self._transfer_repeated,
            **self.coordinated.appliers,
        }

    @property
    def account_count(self) -> int:
        """Accounts opened so far."""
        return len(self._numbers)

    @property
    def accounts(self) -> Accounts:
        """The columns, to be read only."""
        return self._accounts

    def account(self, account_id: str) -> Account | None:
        """One account now, None if it was never opened here."""
        return self._accounts.account(account_id)

    def account_id(self, number: int) -> str:
        """The id of a numbered account."""
        return self._accounts.ids[number]

    def currency(self, number: int) -> str:
        """The currency of a numbered account."""
        return self._accounts.currencies[number]

    def apply(self, frame: EventFrame, cursor: Cursor) -> dict[str, list[Result]]:
        """Take the frame that leads to a cursor; give each proxy's results in order.

        Who gets none is absent: many sources are writers' steps, which answer nobody.
        """
        results: dict[str, list[Result]] = {}
        self.coordinated.results = results
        appliers = self._appliers
        sequence = frame.first_sequence
        events = iter(frame.events)
        for source in frame.sources:
            if not source.count:
                continue
            at_ms = source.at_ms
            if at_ms != self.at_ms:
                self.at_ms = at_ms
                self.unstored.pending.moments.append((sequence, at_ms))
            self.coordinated.sender_id = source.sender_id
            answers = results.setdefault(source.sender_id, [])
            request_number = source.first_number
            for event in islice(events, source.count):
                result = appliers[type(event)](event, sequence, at_ms, request_number)
                if result is not None:
                    answers.append(result)
                sequence += 1
                request_number += 1
        assert sequence == cursor.tip.sequence + 1, "the chain counts as the projection does"
        self.cursor = self.unstored.pending.cursor = cursor
        self.unstored.pending.tips.append(cursor.tip)
        return {sender_id: answers for sender_id, answers in results.items() if answers}

    # --- one event each: (event, sequence, at_ms, request_number) → its result ---

    def _epoch_opened(self, _event: EpochOpened, _sequence: int, _at_ms: int, _number: int) -> None:
        """Nobody asked for it."""

    def _account_opened(
        self, event: AccountOpened, sequence: int, at_ms: int, request_number: int
    ) -> Result:
        row = AccountRow(
            number=len(self._numbers),
            account_id=event.account_id,
            currency=event.currency,
            overdraft_limit_minor=event.overdraft_limit_minor,
            opened_sequence=sequence,
            opened_at_ms=at_ms,
        )
        self._accounts.add(row)
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
            sequence=self._accounts.opened_sequences[number],
            at_ms=self._accounts.opened_at_ms[number],
            repeated=True,
        )

    def _account_open_rejected(
        self, event: AccountOpenRejected, sequence: int, at_ms: int, request_number: int
    ) -> Result:
        return Result(
            request_number=request_number,
            rejection=event.reason,
            balance_minor=self._accounts.posted_minor(event.account_id),
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
        balance_minor = self._accounts.posted_minor(event.from_account_id)
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
    ) -> Result | None:
        try:
            row = self.unstored.row(event.first_sequence) or self._stored_row(event.first_sequence)
        except NotAtHand:
            return None  # its proxy asks again
        assert row is not None, f"sequence {event.first_sequence} has an outcome to repeat"
        if isinstance(row, StepRow):
            assert row.is_outcome, "what is repeated has an outcome"
            return outcome_result(row, request_number, repeated=True)
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
