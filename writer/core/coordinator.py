"""The coordinator's rules: it brings transfers about that partitions can't settle alone.

Pure, as a partition's rules are. What it does in which phase stands in the lifecycle of the
transfer's way; it moves no money itself. Every answer that takes a transfer to another phase is an
event of its journal, so after a crash it asks again exactly what it was waiting for.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import chain, islice
from typing import Final, assert_never

from msgspec import Struct

from contracts.commands import OpenAccount, Transfer
from contracts.coordination import CREDIT_STEPS, Coordination, Step
from contracts.events import (
    CoordinationBegun,
    CoordinationTimedOut,
    EpochOpened,
    Event,
    StepAnswerRecorded,
)
from contracts.limits import DUE_EVENTS_MAX, FRAME_BYTES_MAX, ID_LENGTH_MAX, PARTY_ANSWER_TICKS_MAX
from contracts.partitioning import SlotMap
from contracts.rejections import Rejection
from contracts.steps import Coordinate, StepAnswered, TakeStep, Tick
from writer.core.blocks import Decoder, Thaw, Unreadable, encoded
from writer.core.coordination import WAYS, Lifecycle
from writer.core.idempotency import Outcomes
from writer.core.rules import Message, Outgoing
from writer.core.sides import Name, content_of, late


class Running(Struct):
    """A transfer that the coordinator has in hand."""

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    coordination: Coordination
    phase: Enum
    begun_at_ms: int
    reason: Rejection | None = None
    """Why it is being given up."""
    asked: tuple[Step, ...] = ()
    """What was asked for already; not a part of the state that events make, nor is `ticks`."""
    ticks: int = 0


class _Extent(Struct, frozen=True, array_like=True):
    """How many transfers follow."""

    running: int


class _InHand(Struct, frozen=True, array_like=True):
    """A Running as events make it; its phase by the value that its way gives it."""

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    coordination: Coordination
    begun_at_ms: int
    phase: str
    reason: Rejection | None


_EXTENT: Final = Decoder(_Extent)
_IN_HAND: Final = Decoder(list[_InHand])
_RUNNING_OF_BLOCK: Final = 1_024
"""With the longest ids there are, a block stays below the largest message."""
assert _RUNNING_OF_BLOCK * (12 * (ID_LENGTH_MAX + 4) + 64) <= FRAME_BYTES_MAX, (
    "an id's character may take 4 bytes"
)


class Coordinator:
    """Rules of one coordinator, and the state that its events add up to."""

    def __init__(self, number: int, slots: SlotMap) -> None:
        self._number = number
        self._slots = slots
        self.outcomes = Outcomes()
        self.running: dict[Name, Running] = {}
        """Oldest first."""
        self.released: list[int] = []
        self._overdue: dict[Name, None] = {}
        """What is to be given up as soon as there is room for the events. Not a part of the state
        that events make."""

    @property
    def fingerprint_key(self) -> bytes | None:
        """See Rules."""
        known = self.outcomes.fingerprints
        return None if known is None else known.key

    @property
    def unfinished_count(self) -> int:
        """See Rules."""
        return len(self.running)

    @property
    def oldest_started_at_ms(self) -> int:
        """See Rules."""
        oldest = next(iter(self.running.values()), None)
        return 0 if oldest is None else oldest.begun_at_ms

    def due(self, _at_ms: int) -> list[Event]:
        """See Rules: what waited too long for tries or votes is given up."""
        return [CoordinationTimedOut(*name) for name in islice(self._overdue, DUE_EVENTS_MAX)]

    def starts(self, message: Message) -> bool:
        """See Rules."""
        return isinstance(message, Coordinate) and self.decide(message) is not None

    def waits_for(self, _message: Message) -> None:
        """See Rules: nothing ever waits here."""

    def decide(self, message: Message) -> Event | None:
        """See Rules."""
        match message:
            case Coordinate():
                name = (message.from_account_id, message.transaction_id)
                if name in self.running or self.outcomes.find(*name) is not None:
                    return None
                return CoordinationBegun(*content_of(message), message.coordination)
            case StepAnswered():
                return self._decide_answer(message)
            case Transfer() | OpenAccount() | TakeStep() | Tick():
                return None
            case _:
                assert_never(message)

    def _decide_answer(self, answer: StepAnswered) -> Event | None:
        """None for an answer that is no longer waited for."""
        name = (answer.from_account_id, answer.transaction_id)
        running = self.running.get(name)
        if running is None:
            return None
        key = (running.phase, answer.step, answer.reason is None)
        if key not in _lifecycle(running).transitions:
            return None
        return StepAnswerRecorded(*name, answer.step, answer.reason)

    def evolve(self, event: Event, sequence: int, at_ms: int) -> None:
        """See Rules."""
        match event:
            case EpochOpened():
                self.outcomes.set_key(event.fingerprint_key)
            case CoordinationBegun():
                self._begin(event, at_ms)
            case StepAnswerRecorded():
                running = self.running[event.from_account_id, event.transaction_id]
                key = (running.phase, event.step, event.reason is None)
                running.reason = running.reason or event.reason
                self._enter(running, _lifecycle(running).transitions[key], sequence)
            case CoordinationTimedOut():
                running = self.running[event.from_account_id, event.transaction_id]
                running.reason = running.reason or Rejection.COORDINATION_TIMED_OUT
                self._enter(running, _lifecycle(running).timeouts[running.phase], sequence)
            case _:
                raise AssertionError("an event of a partition's journal")

    def _begin(self, event: CoordinationBegun, at_ms: int) -> None:
        name = (event.from_account_id, event.transaction_id)
        way = WAYS[event.coordination].lifecycle
        assert way is not None, "only ways with a lifecycle come here"
        phase = way.first(event.from_account_id, event.to_account_id)
        self.running[name] = Running(*content_of(event), event.coordination, phase, at_ms)

    def _enter(self, running: Running, phase: Enum, sequence: int) -> None:
        """Go to the next phase, perhaps the last."""
        name = (running.from_account_id, running.transaction_id)
        running.phase = phase
        running.ticks = 0
        self._overdue.pop(name, None)
        if phase is _lifecycle(running).finished:
            del self.running[name]
            self.outcomes.remember(running, sequence, running.reason)

    def after(self, message: Message | None, event: Event | None) -> Iterable[Outgoing]:
        """See Rules."""
        if isinstance(event, CoordinationBegun | StepAnswerRecorded | CoordinationTimedOut):
            running = self.running.get((event.from_account_id, event.transaction_id))
            return () if running is None else self._ask(running, again=False)
        if isinstance(message, Tick):
            return self._tick()
        return ()

    def unanswered(self) -> Iterable[Outgoing]:
        """See Rules."""
        return self._ask_again(self.running.values())

    def begin_reign(self) -> None:
        """See Rules."""
        self._overdue.clear()
        for running in self.running.values():
            running.ticks = 0

    def check(self) -> None:
        """See Rules: it has no money."""

    def freeze(self) -> Iterator[bytes]:
        """See Rules. Of a transfer in hand phase and reason change, so these are copied."""
        running = list(self.running.values())
        changing = [(each.phase, each.reason) for each in running]
        return chain(self.outcomes.freeze(), _blocks(running, changing))

    def thaw(self) -> Thaw:
        """See Rules."""
        yield from self.outcomes.thaw()
        count = _EXTENT.read((yield)).running
        while len(self.running) < count:
            for of in _IN_HAND.read((yield)):
                self.running[of.from_account_id, of.transaction_id] = _running(of)

    def _tick(self) -> list[Outgoing]:
        """Note what waits too long, and ask again."""
        asked_again = [running for running in self.running.values() if late(running)]
        for name, running in self.running.items():
            if (
                running.ticks >= PARTY_ANSWER_TICKS_MAX
                and running.phase in _lifecycle(running).timeouts
            ):
                self._overdue[name] = None
        return self._ask_again(asked_again)

    def _ask_again(self, waiting: Iterable[Running]) -> list[Outgoing]:
        return [asked for running in waiting for asked in self._ask(running, again=True)]

    def _ask(self, running: Running, *, again: bool) -> list[Outgoing]:
        """Ask for the steps of the present phase, all of them or those that were not asked for."""
        awaited = _lifecycle(running).awaits[running.phase]
        wanted = [step for step in awaited if again or step not in running.asked]
        running.asked = awaited
        return [self._take(running, step) for step in wanted]

    def _take(self, running: Running, step: Step) -> Outgoing:
        is_credit = step in CREDIT_STEPS
        account_id = running.to_account_id if is_credit else running.from_account_id
        take = TakeStep(step, *content_of(running), self._number, running.reason)
        return Outgoing(self._slots.partition_of(account_id), take)


def _lifecycle(running: Running) -> Lifecycle:
    lifecycle = WAYS[running.coordination].lifecycle
    assert lifecycle is not None, "only ways with a lifecycle come here"
    return lifecycle


def _blocks(
    running: list[Running], changing: list[tuple[Enum, Rejection | None]]
) -> Iterator[bytes]:
    yield encoded(_Extent(len(running)))
    for at in range(0, len(running), _RUNNING_OF_BLOCK):
        some = slice(at, at + _RUNNING_OF_BLOCK)
        yield encoded(
            [
                _InHand(*content_of(of), of.coordination, of.begun_at_ms, str(phase.value), reason)
                for of, (phase, reason) in zip(running[some], changing[some], strict=True)
            ]
        )


def _running(of: _InHand) -> Running:
    way = WAYS[of.coordination].lifecycle
    phases = () if way is None else type(way.finished)
    phase = next((each for each in phases if each.value == of.phase), None)
    if phase is None:
        raise Unreadable(f"there is no phase {of.phase} of {of.coordination.name}")
    return Running(*content_of(of), of.coordination, phase, of.begun_at_ms, of.reason)
