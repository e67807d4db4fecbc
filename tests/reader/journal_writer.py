"""A small honest writer that makes one partition's journal, by the plainest form of the rules.

It locks nothing: a reader knows no limits, so it has to follow whatever was recorded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from contracts.chain import Tip, advanced, genesis
from contracts.commands import Command, OpenAccount, Transfer
from contracts.coordination import Coordination, Step
from contracts.events import (
    AccountOpened,
    AccountOpenRejected,
    AccountOpenRepeated,
    EpochOpened,
    Event,
    StepRefused,
    StepTaken,
    TransferAwaited,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferRepeated,
    TransferStarted,
)
from contracts.frames import EVENT_FRAME, EventFrame, Source
from contracts.rejections import Rejection
from contracts.results import Result
from tests.reader.books import START_MS, Books, Fact

FAR_IDS: Final = ("far-1", "far-2")
"""Accounts of other partitions."""


class GoOn(NamedTuple):
    """Let one of the started transfers go on in one of the ways that it can."""

    transfer: int
    way: int


class Incoming(NamedTuple):
    """Let a transfer from another partition begin here, or go on in one of the ways it can."""

    payer_id: str
    payee_id: str
    amount_minor: int
    transaction_id: str
    coordination: Coordination
    way: int


Cause = Command | GoOn | Incoming


class Way(NamedTuple):
    """How one side of a transfer may go on."""

    step: Step
    reason: Rejection | None = None
    ends: bool = False
    """The payer's side, with a TransferFinished."""


_SHORT: Final = Rejection.INSUFFICIENT_FUNDS
_FULL: Final = Rejection.BALANCE_LIMIT_EXCEEDED
_LATE: Final = Rejection.COORDINATION_TIMED_OUT

DEBIT_WAYS: Final[Mapping[tuple[Coordination, Step | None], Sequence[Way]]] = {
    (Coordination.CHOREOGRAPHY, None): (
        Way(Step.COMPLETE, ends=True),
        Way(Step.REFUND, Rejection.TO_ACCOUNT_NOT_FOUND, ends=True),
    ),
    (Coordination.ORCHESTRATION, None): (Way(Step.DEBIT), Way(Step.DEBIT, _SHORT, ends=True)),
    (Coordination.ORCHESTRATION, Step.DEBIT): (
        Way(Step.COMPLETE, ends=True),
        Way(Step.REFUND, _FULL, ends=True),
    ),
    (Coordination.TCC, None): (
        Way(Step.TRY_DEBIT),
        Way(Step.TRY_DEBIT),
        Way(Step.TRY_DEBIT, _SHORT, ends=True),
        Way(Step.CANCEL_DEBIT, _LATE, ends=True),
    ),
    (Coordination.TCC, Step.TRY_DEBIT): (
        Way(Step.CONFIRM_DEBIT),
        Way(Step.CANCEL_DEBIT, _FULL, ends=True),
        Way(Step.EXPIRE_DEBIT, Rejection.HOLD_EXPIRED, ends=True),
    ),
    (Coordination.TCC, Step.CONFIRM_DEBIT): (Way(Step.COMPLETE, ends=True),),
    (Coordination.TWO_PHASE_COMMIT, None): (
        Way(Step.PREPARE_DEBIT),
        Way(Step.PREPARE_DEBIT, _SHORT, ends=True),
        Way(Step.ABORT_DEBIT, _LATE, ends=True),
    ),
    (Coordination.TWO_PHASE_COMMIT, Step.PREPARE_DEBIT): (
        Way(Step.COMMIT_DEBIT, ends=True),
        Way(Step.ABORT_DEBIT, _FULL, ends=True),
    ),
}
"""By what the payer's side did last."""

CREDIT_WAYS: Final[Mapping[tuple[Coordination, Step | None], Sequence[Way]]] = {
    (Coordination.CHOREOGRAPHY, None): (Way(Step.CREDIT), Way(Step.CREDIT, _FULL)),
    (Coordination.ORCHESTRATION, None): (Way(Step.CREDIT), Way(Step.CREDIT, _FULL)),
    (Coordination.TCC, None): (
        Way(Step.TRY_CREDIT),
        Way(Step.TRY_CREDIT, _FULL),
        Way(Step.CANCEL_CREDIT),
    ),
    (Coordination.TCC, Step.TRY_CREDIT): (Way(Step.CONFIRM_CREDIT), Way(Step.CANCEL_CREDIT)),
    (Coordination.TWO_PHASE_COMMIT, None): (
        Way(Step.PREPARE_CREDIT),
        Way(Step.PREPARE_CREDIT, _FULL),
        Way(Step.ABORT_CREDIT),
    ),
    (Coordination.TWO_PHASE_COMMIT, Step.PREPARE_CREDIT): (
        Way(Step.COMMIT_CREDIT),
        Way(Step.ABORT_CREDIT),
    ),
}
"""By what the payee's side did last. After a refusal nothing follows."""

_ENDS: Final = {Step.CREDIT, Step.CANCEL_CREDIT, Step.CONFIRM_CREDIT}
_NEEDS_ACCOUNT: Final = {Step.CREDIT, Step.TRY_CREDIT, Step.PREPARE_CREDIT}


@dataclass
class Writer:
    """Decides what causes ask for and frames the events."""

    partition: int = 0
    tip: Tip = field(init=False)
    books: Books = field(init=False)
    at_ms: int = START_MS
    facts: list[Fact] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    askers: dict[tuple[str, str], list[tuple[str, int, bool]]] = field(default_factory=dict)
    """By name of an unfinished transfer who is owed its outcome: proxy, number, repeated."""
    incoming: dict[tuple[str, str], tuple[Incoming, Way | None]] = field(default_factory=dict)
    """By name the content of a transfer from elsewhere, and how it went on last."""
    expected: list[dict[str, list[Result]]] = field(default_factory=list)
    """Per frame the results for each proxy."""

    def __post_init__(self) -> None:
        self.tip = genesis(self.partition)
        self.books = Books(self.partition, self.facts)
        self.open_epoch()

    def open_epoch(self) -> bytes:
        source = Source(sender_id="", first_number=0, at_ms=self.at_ms, count=1)
        self.facts.append(Fact(self.tip.sequence + 1, self.at_ms, EpochOpened("w", b"k")))
        return self.frame([source], 1, self.tip.epoch + 1, {})

    def write(self, sources: Sequence[tuple[str, int, Sequence[Cause]]]) -> bytes:
        """One frame from (sender id, ms since the last, causes) of each source."""
        data = self.write_if_any(sources)
        assert data is not None, "something was caused"
        return data

    def write_if_any(self, sources: Sequence[tuple[str, int, Sequence[Cause]]]) -> bytes | None:
        """As `write`; no frame if all causes were steps that are taken already."""
        made, expected, before = [], dict[str, list[Result]](), len(self.facts)
        for sender_id, passed_ms, causes in sources:
            self.at_ms += passed_ms
            first, known = self.requests.get(sender_id, 1), len(self.facts)
            self.requests[sender_id] = first + len(causes)
            for number, cause in enumerate(causes, first):
                self._take(sender_id, number, cause, expected)
            made.append(Source(sender_id, first, self.at_ms, len(self.facts) - known))
        count = len(self.facts) - before
        return self.frame(made, count, self.tip.epoch, expected) if count else None

    def frame(
        self,
        sources: list[Source],
        count: int,
        epoch: int,
        expected: dict[str, list[Result]],
    ) -> bytes:
        frame = EventFrame(
            epoch=epoch,
            first_sequence=self.tip.sequence + 1,
            prev_hash=self.tip.hash,
            command_sequence=0,
            sources=sources,
            events=[fact.event for fact in self.facts[-count:]],
        )
        data = EVENT_FRAME.encode(frame)
        self.tip = advanced(self.tip, frame, data)
        self.frames.append(data)
        self.expected.append(expected)
        return data

    def _take(
        self, sender_id: str, number: int, cause: Cause, expected: dict[str, list[Result]]
    ) -> None:
        event = self._decide(cause)
        if event is None:
            return
        sequence = len(self.facts) + 1
        self.facts.append(Fact(sequence, self.at_ms, event))
        told: list[tuple[str, int, bool]] = []
        match event:
            case TransferStarted():
                self.askers[_name(event)] = [(sender_id, number, False)]
            case TransferAwaited():
                self.askers[_name(event)].append((sender_id, number, True))
            case TransferFinished():
                told = self.askers.pop(_name(event))
            case StepTaken() | StepRefused():
                pass
            case _:
                expected.setdefault(sender_id, []).append(self.books.result(number, sequence))
        for proxy_id, asked_as, repeated in told:
            result = self.books.result(asked_as, sequence)
            result = msgspec.structs.replace(result, repeated=repeated)
            expected.setdefault(proxy_id, []).append(result)

    def _decide(self, cause: Cause) -> Event | None:
        match cause:
            case OpenAccount():
                return self._decide_opening(cause)
            case Transfer():
                return self._decide_transfer(cause)
            case GoOn():
                return self._go_on(cause)
            case Incoming():
                return self._credit(cause)

    # --- commands ---

    def _decide_opening(self, command: OpenAccount) -> Event:
        first = self.books.opening(command.account_id)
        if first is None:
            return AccountOpened(
                command.account_id, command.currency, command.overdraft_limit_minor
            )
        opened = first.event
        assert isinstance(opened, AccountOpened)
        asked = (command.currency, command.overdraft_limit_minor)
        if (opened.currency, opened.overdraft_limit_minor) == asked:
            return AccountOpenRepeated(command.account_id, first.sequence)
        return AccountOpenRejected(command.account_id, Rejection.ACCOUNT_EXISTS)

    def _decide_transfer(self, command: Transfer) -> Event:
        content = (
            command.from_account_id,
            command.to_account_id,
            command.amount_minor,
            command.currency,
            command.transaction_id,
        )
        name = (command.from_account_id, command.transaction_id)
        first, start = self.books.outcome(*name), self.books.start(*name)
        event = start[1] if start else first and first.event
        if event is not None:
            assert isinstance(event, TransferCompleted | TransferRejected | TransferStarted)
            if (event.to_account_id, event.amount_minor, event.currency) != content[1:4]:
                return TransferRejected(*content, Rejection.IDEMPOTENCY_CONFLICT)
            return TransferRepeated(*name, first.sequence) if first else TransferAwaited(*name)
        reason = self._why_refused(command)
        if reason is not None:
            return TransferRejected(*content, reason)
        if command.to_account_id in FAR_IDS:
            return TransferStarted(*content, command.coordination)
        return TransferCompleted(*content)

    def _why_refused(self, command: Transfer) -> Rejection | None:
        if command.from_account_id == command.to_account_id:
            return Rejection.SAME_ACCOUNT
        if command.to_account_id == "astray":
            return Rejection.WRONG_PARTITION
        payer = self.books.opened(command.from_account_id)
        if payer is None:
            return Rejection.FROM_ACCOUNT_NOT_FOUND
        currencies = {payer.currency}
        if command.to_account_id not in FAR_IDS:
            payee = self.books.opened(command.to_account_id)
            if payee is None:
                return Rejection.TO_ACCOUNT_NOT_FOUND
            currencies.add(payee.currency)
        if currencies != {command.currency}:
            return Rejection.CURRENCY_MISMATCH
        tip = len(self.facts)
        available = self.books.posted(payer.account_id, tip) + payer.overdraft_limit_minor
        available -= self.books.held(payer.account_id, tip)
        return None if command.amount_minor <= available else Rejection.INSUFFICIENT_FUNDS

    # --- steps ---

    def _go_on(self, cause: GoOn) -> Event | None:
        unfinished = self.books.unfinished()
        if not unfinished:
            return None
        start = unfinished[cause.transfer % len(unfinished)].event
        assert isinstance(start, TransferStarted)
        last = self.books.debit_steps(*_name(start))[-1].event
        ways = DEBIT_WAYS[start.coordination, last.step if isinstance(last, StepTaken) else None]
        way = ways[cause.way % len(ways)]
        if way.ends:
            return TransferFinished(*_name(start), way.step, way.reason)
        return StepTaken(
            way.step,
            start.from_account_id,
            start.to_account_id,
            start.amount_minor,
            start.currency,
            start.transaction_id,
        )

    def _credit(self, cause: Incoming) -> Event | None:
        name = (cause.payer_id, cause.transaction_id)
        first, last = self.incoming.get(name, (cause, None))
        if last is not None and (last.reason or last.step in _ENDS):
            return None
        ways = CREDIT_WAYS.get((first.coordination, last and last.step))
        if ways is None:
            return None
        way = ways[cause.way % len(ways)]
        payee = self.books.opened(first.payee_id)
        if way.step in _NEEDS_ACCOUNT and (payee is None or payee.currency != "USD"):
            way = Way(way.step, Rejection.TO_ACCOUNT_NOT_FOUND)
        self.incoming[name] = (first, way)
        content = (way.step, *first[:3], "USD", first.transaction_id)
        return StepTaken(*content) if way.reason is None else StepRefused(*content, way.reason)


def _name(event: TransferStarted | TransferAwaited | TransferFinished) -> tuple[str, str]:
    return event.from_account_id, event.transaction_id
