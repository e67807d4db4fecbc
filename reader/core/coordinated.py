"""Transfers between partitions, as the journal of one of them tells: its own side of each.

Owns which transfers are unfinished, what each step did to the account of this side, and who is
owed the outcome. Knows nothing of the other side, and not who drives.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, Final

from contracts.coordination import CREDIT_STEPS, Coordination, Step
from contracts.events import (
    StepRefused,
    StepTaken,
    TransferAwaited,
    TransferFinished,
    TransferStarted,
)
from contracts.rejections import Rejection
from contracts.results import Result
from reader.core.accounts import Accounts
from reader.core.rows import NO_ACCOUNT, Name, StepKind, StepRow, UnfinishedRow
from reader.core.unstored import Unstored

ASKERS_MAX: Final = 64
"""Requests that are remembered for one outcome: the first, and the newest others. A proxy asks
again each second for what it still holds, so who is forgotten is told a second later."""

POSTED_BY_STEP: Final[Mapping[Step, int]] = {
    Step.DEBIT: -1,
    Step.CREDIT: 1,
    Step.CONFIRM_DEBIT: -1,
    Step.CONFIRM_CREDIT: 1,
    Step.COMMIT_CREDIT: 1,
}
"""What a taken step does to the posted balance of its side's account, in amounts; otherwise 0."""

POSTED_BY_OUTCOME: Final[Mapping[Step, int]] = {
    Step.REFUND: 1,
    Step.COMMIT_DEBIT: -1,
}
"""What the end of the payer's side does to the payer's posted balance, in amounts; otherwise 0."""

# As they are stored: looking up an enum's member costs more than the rest of a field.
_START: Final = int(StepKind.START)
_DEBIT: Final = int(StepKind.DEBIT)
_OUTCOME: Final = int(StepKind.OUTCOME)
_CREDIT: Final = int(StepKind.CREDIT)
_CHOREOGRAPHY: Final = Coordination.CHOREOGRAPHY
_COORDINATIONS: Final = {int(way): way for way in Coordination}


class Unfinished:
    """A transfer whose payer's side is under way."""

    __slots__ = ("askers", "newest", "start")

    def __init__(self, row: UnfinishedRow) -> None:
        self.start, self.newest = row
        self.askers: list[tuple[str, int, bool]] = []
        """(proxy id, request number, whether it asked for a repeat) of who is owed the outcome.
        Not stored: after a restart the proxies ask again."""

    @property
    def is_held(self) -> bool:
        """Whether the payer holds the amount now: it was tried, and not captured since."""
        return self.newest.step == Step.TRY_DEBIT

    def asked(self, sender_id: str, request_number: int, *, repeated: bool) -> None:
        """One more request is owed the outcome."""
        self.askers.append((sender_id, request_number, repeated))
        if len(self.askers) > ASKERS_MAX:
            del self.askers[1]  # never the first: it is the one that is told nothing was repeated


class CoordinatedTransfers:
    """This partition's sides of transfers between partitions."""

    def __init__(
        self, accounts: Accounts, unstored: Unstored, unfinished: Iterable[UnfinishedRow]
    ) -> None:
        """Continue from the transfers that are unfinished as stored, the oldest first."""
        self.sender_id = ""
        """Of the source whose events are applied now; the projection sets it."""
        self.results: dict[str, list[Result]] = {}
        """By proxy, those of the frame that is applied now; the projection sets it."""
        self._accounts = accounts
        self._unstored = unstored
        self._unfinished: dict[Name, Unfinished] = {}
        for row in unfinished:
            transfer = Unfinished(row)
            name = (accounts.ids[row.start.account], row.start.transaction_id)
            self._unfinished[name] = transfer
            if transfer.is_held:
                accounts.held[row.start.account] += row.start.amount_minor

    @property
    def appliers(self) -> dict[type, Callable[[Any, int, int, int], None]]:
        """By type of event, as the projection calls them: none has a result of its own."""
        return {
            TransferStarted: self._transfer_started,
            TransferAwaited: self._transfer_awaited,
            TransferFinished: self._transfer_finished,
            StepTaken: self._step_taken,
            StepRefused: self._step_refused,
        }

    @property
    def unfinished_count(self) -> int:
        """Transfers that are started and have no outcome."""
        return len(self._unfinished)

    def unfinished(self, name: Name) -> Unfinished | None:
        """A transfer that is started and has no outcome."""
        return self._unfinished.get(name)

    def oldest_unfinished(self, limit: int) -> list[Unfinished]:
        """At most so many of them, in the order of their starts."""
        return list(islice(self._unfinished.values(), limit))

    # --- one event each: (event, sequence, at_ms, request_number) ---

    def _transfer_started(
        self, event: TransferStarted, sequence: int, at_ms: int, request_number: int
    ) -> None:
        accounts, pending = self._accounts, self._unstored.pending
        payer = accounts.numbers[event.from_account_id]
        assert accounts.currencies[payer] == event.currency, "it was checked at the start"
        amount_minor = event.amount_minor
        is_debit = event.coordination is _CHOREOGRAPHY
        previous_entry = accounts.post(payer, -amount_minor, sequence) if is_debit else 0
        start = StepRow(
            sequence,
            at_ms,
            _START,
            0,  # no step
            0,  # no reason
            int(event.coordination),
            payer,
            "",  # not unopened
            event.to_account_id,
            event.transaction_id,
            amount_minor,
            -amount_minor if is_debit else 0,
            accounts.posted[payer],
            previous_entry,
            0,  # no step before
        )
        pending.steps.append(start)
        pending.unfinished[sequence] = sequence
        name = (event.from_account_id, event.transaction_id)
        assert name not in self._unfinished, "a name is taken once"
        self._unfinished[name] = transfer = Unfinished(UnfinishedRow(start, start))
        transfer.asked(self.sender_id, request_number, repeated=False)

    def _transfer_awaited(
        self, event: TransferAwaited, _sequence: int, _at_ms: int, request_number: int
    ) -> None:
        transfer = self._unfinished[event.from_account_id, event.transaction_id]
        transfer.asked(self.sender_id, request_number, repeated=True)

    def _transfer_finished(
        self, event: TransferFinished, sequence: int, at_ms: int, _request_number: int
    ) -> None:
        name = (event.from_account_id, event.transaction_id)
        transfer = self._unfinished.pop(name)
        start = transfer.start
        self._release(transfer, sequence)
        moved_minor = start.amount_minor * POSTED_BY_OUTCOME.get(event.step, 0)
        reason = 0 if event.reason is None else int(event.reason)
        outcome = self._went_on(
            transfer, sequence, at_ms, _OUTCOME, event.step, reason=reason, moved_minor=moved_minor
        )
        pending = self._unstored.pending
        pending.names[name] = sequence
        if pending.steps[0].sequence <= start.sequence:
            del pending.unfinished[start.sequence]  # the store never knew it
        else:
            pending.unfinished[start.sequence] = 0
        for sender_id, request_number, repeated in transfer.askers:
            result = outcome_result(outcome, request_number, repeated=repeated)
            self.results.setdefault(sender_id, []).append(result)

    def _step_taken(
        self, event: StepTaken, sequence: int, at_ms: int, _request_number: int
    ) -> None:
        moved_minor = event.amount_minor * POSTED_BY_STEP.get(event.step, 0)
        if event.step in CREDIT_STEPS:
            self._credited(event, sequence, at_ms, 0, moved_minor)
            return
        transfer = self._unfinished[event.from_account_id, event.transaction_id]
        if event.step is Step.TRY_DEBIT:
            self._accounts.hold(transfer.start.account, event.amount_minor, sequence)
        else:
            self._release(transfer, sequence)
        self._went_on(
            transfer, sequence, at_ms, _DEBIT, event.step, reason=0, moved_minor=moved_minor
        )
        self._unstored.pending.unfinished[transfer.start.sequence] = sequence

    def _step_refused(
        self, event: StepRefused, sequence: int, at_ms: int, _request_number: int
    ) -> None:
        self._credited(event, sequence, at_ms, int(event.reason), 0)

    def _release(self, transfer: Unfinished, sequence: int) -> None:
        """Whatever follows a hold ends it: its capture, a cancellation, or its expiry."""
        if transfer.is_held:
            start = transfer.start
            self._accounts.hold(start.account, -start.amount_minor, sequence)

    # --- rows ---

    def _went_on(
        self,
        transfer: Unfinished,
        sequence: int,
        at_ms: int,
        kind: int,
        step: Step,
        *,
        reason: int,
        moved_minor: int,
    ) -> StepRow:
        """The payer's side took a step."""
        accounts, start = self._accounts, transfer.start
        payer = start.account
        previous_entry = accounts.post(payer, moved_minor, sequence) if moved_minor else 0
        transfer.newest = row = StepRow(
            sequence,
            at_ms,
            kind,
            int(step),
            reason,
            start.coordination,
            payer,
            "",  # not unopened
            start.counterparty_id,
            start.transaction_id,
            start.amount_minor,
            moved_minor,
            accounts.posted[payer],
            previous_entry,
            transfer.newest.sequence,
        )
        self._unstored.pending.steps.append(row)
        return row

    def _credited(
        self,
        event: StepTaken | StepRefused,
        sequence: int,
        at_ms: int,
        reason: int,
        moved_minor: int,
    ) -> None:
        """The payee's side took or refused a step."""
        accounts, pending = self._accounts, self._unstored.pending
        payer_id, payee_id = event.from_account_id, event.to_account_id
        payee = accounts.numbers.get(payee_id, NO_ACCOUNT)
        previous_entry = 0
        if moved_minor:
            assert accounts.currencies[payee] == event.currency, "it was checked before"
            previous_entry = accounts.post(payee, moved_minor, sequence)
        row = StepRow(
            sequence,
            at_ms,
            _CREDIT,
            int(event.step),
            reason,
            0,  # the payee's side is not told the way
            payee,
            payee_id if payee == NO_ACCOUNT else "",
            payer_id,
            event.transaction_id,
            event.amount_minor,
            moved_minor,
            0 if payee == NO_ACCOUNT else accounts.posted[payee],
            previous_entry,
            0,  # no step before is looked for
        )
        pending.steps.append(row)
        pending.credits.setdefault((payer_id, event.transaction_id), []).append(sequence)


def outcome_result(row: StepRow, request_number: int, *, repeated: bool) -> Result:
    """What a request is told of a transfer's outcome."""
    return Result(
        request_number=request_number,
        rejection=Rejection(row.reason) if row.reason else None,
        balance_minor=row.balance_minor,
        sequence=row.sequence,
        at_ms=row.at_ms,
        repeated=repeated,
        coordination=_COORDINATIONS[row.coordination],
    )
