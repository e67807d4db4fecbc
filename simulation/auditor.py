"""The auditor: re-derives every decision from the journals' bytes and keeps the naive books.

It sees what every stream stores, in order. Frames that do not chain it drops by a check of its
own; for each event of the others it says what must have happened, given the books and the command
or step behind it, and compares. It knows the contracts and nothing of the writer.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from contracts.commands import Command, OpenAccount
from contracts.commands import Transfer as TransferCommand
from contracts.coordination import Coordination
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
from contracts.frames import COMMAND_FRAME, EVENT_FRAME, STEP_FRAME
from contracts.parties import parties
from contracts.partitioning import SlotMap
from contracts.rejections import NOT_REMEMBERED, Rejection
from contracts.steps import StepAnswered, TakeStep
from contracts.subjects import command_subject, journal_stream, queue_stream, step_subject
from simulation.books import (
    Account,
    Books,
    Content,
    Violated,
    check,
)
from simulation.cases import (
    DUPLICATE_CONFIRM,
    STALE_FRAME,
    SUSPENDED_TRY,
)
from simulation.coordinating import Coordinations
from simulation.journals import Journal, Where
from simulation.lifecycles import (
    CONFIRMS,
)
from simulation.sides import Sides, content_of
from simulation.world import Appended


class Auditor:
    """Follows everything that is stored. Raises Violated with a sentence."""

    def __init__(self, slots: SlotMap, cases: Counter[str]) -> None:
        self.books = Books()
        self.cases = cases
        self.journals = {party: Journal(party) for party in parties(slots.partition_count)}
        self.events: dict[tuple[str, int], list[tuple[Where, Event]]] = {}
        """What each request of each proxy caused."""
        self.stored_at_s: dict[tuple[int, int], float] = {}
        """When an event's frame was durable, by (party, sequence)."""
        self._slots = slots
        coordinations = Coordinations(self.books, cases)
        self._sides = Sides(self.books, coordinations, slots, cases)
        self._commands: dict[tuple[str, int], Command] = {}
        self._by_stream = {journal_stream(party): party for party in self.journals}
        self._by_queue = {queue_stream(party): party for party in self.journals}
        self._appliers: dict[type, Callable[[Any, Where], None]] = {
            EpochOpened: self._epoch_opened,
            AccountOpened: self._opening,
            AccountOpenRepeated: self._opening,
            AccountOpenRejected: self._opening,
            TransferCompleted: self._transfer,
            TransferRejected: self._transfer,
            TransferRepeated: self._transfer,
            TransferStarted: self._transfer,
            TransferAwaited: self._transfer,
            TransferFinished: self._sides.finished,
            StepTaken: self._sides.taken,
            StepRefused: self._sides.refused,
            CoordinationBegun: coordinations.begun,
            StepAnswerRecorded: coordinations.answered,
            CoordinationTimedOut: coordinations.timed_out,
        }

    # --- what is stored ---

    def take(self, appended: Appended) -> None:
        """A stream has stored a message."""
        party = self._by_stream.get(appended.stream)
        if party is not None:
            self._take_frame(self.journals[party], appended)
            return
        party = self._by_queue[appended.stream]
        if appended.message.subject == step_subject(party):
            for step in STEP_FRAME.decode(appended.message.data).steps:
                self._note_step(step)
        elif appended.message.subject == command_subject(party):
            frame = COMMAND_FRAME.decode(appended.message.data)
            for number, command in enumerate(frame.commands, frame.first_number):
                self._commands[frame.sender_id, number] = command

    def _note_step(self, step: object) -> None:
        """Count what is hard about steps that come late or again."""
        if isinstance(step, StepAnswered):
            self.cases[SUSPENDED_TRY] += step.reason is Rejection.CANCELLED
        elif isinstance(step, TakeStep) and step.step in CONFIRMS:
            transfer = self.books.transfers.get((step.from_account_id, step.transaction_id))
            steps = [] if transfer is None else [*transfer.payer_steps, *transfer.payee_steps]
            self.cases[DUPLICATE_CONFIRM] += any(taken.step is step.step for taken in steps)

    def _take_frame(self, journal: Journal, appended: Appended) -> None:
        data = appended.message.data
        frame = EVENT_FRAME.decode(data)
        if not journal.takes(frame):
            self.cases[STALE_FRAME] += 1
            return
        events = iter(frame.events)
        sequence = journal.sequence
        for source in frame.sources:
            for number in range(source.first_number, source.first_number + source.count):
                sequence += 1
                where = Where(journal.party, sequence, source.at_ms, source.sender_id, number)
                self._take_event(next(events), where)
                self.stored_at_s[journal.party, sequence] = appended.at_s
        journal.advance(frame, data)

    def _take_event(self, event: Event, where: Where) -> None:
        try:
            self._appliers[type(event)](event, where)
            self.books.check_conservation()
        except Violated as violation:
            place = f"party {where.party}, sequence {where.sequence}, {event}"
            raise Violated(f"{violation} ({place})") from None
        if (where.sender_id, where.number) in self._commands:
            self.events.setdefault((where.sender_id, where.number), []).append((where, event))

    # --- commands ---

    def _command(self, where: Where) -> Command:
        command = self._commands.get((where.sender_id, where.number))
        if command is None:
            raise Violated("nobody asked for it")
        owner = self._slots.partition_of(command.routing_account_id)
        check(owner == where.party, "the command was decided by another partition")
        return command

    def _epoch_opened(self, event: EpochOpened, where: Where) -> None:
        journal = self.journals[where.party]
        check(not where.sender_id, "an epoch has no sender")
        known = journal.fingerprint_key
        check(known in (None, event.fingerprint_key), "the fingerprint key changed")
        journal.fingerprint_key = event.fingerprint_key

    def _opening(self, event: Event, where: Where) -> None:
        command = self._command(where)
        assert isinstance(command, OpenAccount)
        known = self.books.accounts.get(command.account_id)
        asked = (command.currency, command.overdraft_limit_minor)
        expected: Event
        if known is None:
            expected = AccountOpened(command.account_id, *asked)
            self.books.accounts[command.account_id] = Account(
                command.account_id, *asked, where.sequence, where.at_ms
            )
        elif (known.currency, known.limit_minor) == asked:
            expected = AccountOpenRepeated(command.account_id, known.opened_sequence)
        else:
            expected = AccountOpenRejected(command.account_id, Rejection.ACCOUNT_EXISTS)
        _compare(event, expected)

    def _transfer(self, event: Event, where: Where) -> None:
        command = self._command(where)
        assert isinstance(command, TransferCommand)
        expected = self._expected(command)
        _compare(event, expected)
        content = content_of(command)
        if isinstance(expected, TransferCompleted):
            self._sides.complete(content, where)
        elif isinstance(expected, TransferStarted):
            self._sides.start(content, command.coordination, where)
        elif isinstance(expected, TransferRejected) and expected.reason not in NOT_REMEMBERED:
            self._sides.reject(content, expected.reason, where)

    def _expected(self, command: TransferCommand) -> Event:
        """What a transfer must cause, by the books."""
        content = content_of(command)
        transfer = self.books.transfers.get((content[0], content[4]))
        if transfer is not None and transfer.content != content:
            return TransferRejected(*content, Rejection.IDEMPOTENCY_CONFLICT)
        if transfer is not None and transfer.ending is not None:
            return TransferRepeated(content[0], content[4], transfer.ending.sequence)
        if transfer is not None:
            return TransferAwaited(content[0], content[4])
        if self._is_here(content):
            self._check_unlocked(content[0], content[1])
            reason = self.books.refusal(content, payer=True, payee=True)
            return TransferRejected(*content, reason) if reason else TransferCompleted(*content)
        return self._expected_start(content, command.coordination)

    def _expected_start(self, content: Content, way: Coordination) -> Event:
        reason = self.books.refusal(content, payer=True, payee=False)
        if way is Coordination.CHOREOGRAPHY:
            self._check_unlocked(content[0])
        elif reason is Rejection.INSUFFICIENT_FUNDS:
            reason = None  # the payer's first step looks at its funds
        if reason is not None:
            return TransferRejected(*content, reason)
        return TransferStarted(*content, way)

    def _check_unlocked(self, *account_ids: str) -> None:
        for account_id in account_ids:
            self.books.check_unlocked(account_id, "decided")

    def partition_of(self, account_id: str) -> int:
        """Where an account lives."""
        return self._slots.partition_of(account_id)

    def _is_here(self, content: Content) -> bool:
        of = self._slots.partition_of
        return of(content[0]) == of(content[1])


def _compare(event: Event, expected: Event) -> None:
    check(event == expected, f"expected {expected}")
