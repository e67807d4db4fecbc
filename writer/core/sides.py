"""The sides that a partition has in transfers to and from other partitions.

Owns unfinished sides, holds and locks: how steps move them stands in the tables of
`coordination`. Knows no order and no clock: partition and machine settle those.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

from msgspec import Struct

from contracts.coordination import CREDIT_STEPS, Coordination, Step
from contracts.events import Event, StepRefused, StepTaken, TransferFinished, TransferStarted
from contracts.limits import (
    DUE_EVENTS_MAX,
    FRAME_BYTES_MAX,
    HOLD_MS,
    ID_LENGTH_MAX,
    RESEND_TICKS,
    RESEND_TICKS_MAX,
)
from contracts.rejections import Rejection
from contracts.steps import StepAnswered, TakeStep
from writer.core.accounts import Accounts
from writer.core.blocks import Decoder, Thaw, encoded
from writer.core.coordination import FINAL, GIVING_UP, MOVES, TAKEN_BEFORE, WAYS, Move, SideState
from writer.core.idempotency import Contents, Outcomes

_LOCKED: Final = SideState.LOCKED  # an enum's member costs more to look up
_SIDES_OF_BLOCK: Final = 1_024
"""With the longest ids there are, a block stays below the largest message."""
assert _SIDES_OF_BLOCK * (12 * (ID_LENGTH_MAX + 4) + 64) <= FRAME_BYTES_MAX, (
    "an id's character may take 4 bytes"
)

Name = tuple[str, str]
"""(payer's account id, transaction id)"""

Content = tuple[str, str, int, str, str]
"""Payer, payee, amount in minor units, currency, transaction id: as steps and events begin."""


class Side(Struct):
    """One side of an unfinished transfer."""

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    coordination: Coordination
    """NONE on the payee's side, which need not know."""
    state: SideState
    started_at_ms: int
    ticks: int = 0
    """Since something was asked of another party; not a part of the state that events make."""


class _Extent(Struct, frozen=True, array_like=True):
    """How many sides follow, the payers' first, and what is small."""

    payers: int
    payees: int
    locked_rows: list[int]
    net_sent_minor: list[tuple[str, str]]
    """(currency, decimal digits): a sum of amounts may leave 64 bits."""
    hold_count: int


class _Unfinished(Struct, frozen=True, array_like=True):
    """A Side as events make it."""

    from_account_id: str
    to_account_id: str
    amount_minor: int
    currency: str
    transaction_id: str
    coordination: Coordination
    started_at_ms: int
    state: SideState


_EXTENT: Final = Decoder(_Extent)
_SIDES: Final = Decoder(list[_Unfinished])
_HOLDS: Final = Decoder(list[tuple[str, str, int]])


class Ticking(Protocol):
    """Who waits for another party."""

    ticks: int


class Sides:
    """All unfinished sides of one partition, on its accounts, ending in its outcomes."""

    def __init__(self, accounts: Accounts, outcomes: Outcomes) -> None:
        self._accounts = accounts
        self._outcomes = outcomes
        self._payees: dict[Name, Side] = {}
        self.payers: dict[Name, Side] = {}
        """Of the transfers that were started here, oldest first."""
        self.locked_rows: set[int] = set()
        self.released: list[int] = []
        """Rows that were unlocked; whoever looks after waiting commands takes them out."""
        self.net_sent_minor: dict[str, int] = {}
        """Per currency, what went to other partitions less what came from them: posted amounts
        and this sum to 0."""
        self._hold_ends_ms: dict[Name, int] = {}
        """When holds expire, Unix ms; in that order, because all last equally long."""

    def of(self, name: Name) -> Side | None:
        """The unfinished side of a transfer."""
        return self.payers.get(name) or self._payees.get(name)

    @property
    def payee_count(self) -> int:
        """Unfinished transfers whose payee is here: reserved or locked."""
        return len(self._payees)

    # --- decide ---

    def expired(self, at_ms: int) -> list[Event]:
        """The ends of holds whose time is over, DUE_EVENTS_MAX at most."""
        events: list[Event] = []
        for name, ends_ms in islice(self._hold_ends_ms.items(), DUE_EVENTS_MAX):
            if ends_ms > at_ms:
                break
            events.append(TransferFinished(*name, Step.EXPIRE_DEBIT, Rejection.HOLD_EXPIRED))
        return events

    def locked_row(self, account_id: str) -> int | None:
        """The account's row if it is locked."""
        row = self._accounts.row_of.get(account_id)
        return row if row in self.locked_rows else None

    def may_refuse(self, take: TakeStep) -> bool:
        """Whether this is a first step, which looks at the account."""
        move = MOVES.get((self._state(take), take.step))
        return move is not None and move.may_be_refused

    def decide(self, take: TakeStep) -> Event | None:
        """The event that a step causes; None if it was taken or refused before."""
        state = self._state(take)
        move = MOVES.get((state, take.step))
        if move is None or (state is SideState.ABSENT and self._outcomes.find(*named(take))):
            return None
        reason = self._refusal(take, move) if move.may_be_refused else None
        if take.step in CREDIT_STEPS:
            if reason is not None:
                return StepRefused(take.step, *content_of(take), reason)
        elif reason is not None:
            return TransferFinished(*named(take), take.step, reason)
        elif move.to in FINAL:
            gives_up = move.to is SideState.UNDONE
            assert gives_up == (take.reason is not None), "who gives up says why"
            return TransferFinished(*named(take), take.step, take.reason)
        return StepTaken(take.step, *content_of(take))

    def decide_answer(self, answer: StepAnswered) -> Event | None:
        """What the payer's side does about an answer that it asked for itself; None if late."""
        side = self.payers.get(named(answer))
        if side is None or WAYS[side.coordination].asks.get(side.state) is not answer.step:
            return None
        step = WAYS[side.coordination].reactions[answer.step, answer.reason is None]
        return TransferFinished(*named(answer), step, answer.reason)

    def answer(self, take: TakeStep, event: Event | None) -> StepAnswered | None:
        """What to tell who asked for a step, now or again; None for a step out of its order."""
        if event is None:
            return self._answer_again(take)
        reason = None
        if isinstance(event, StepRefused | TransferFinished) and take.step not in GIVING_UP:
            reason = event.reason
        return StepAnswered(take.step, *named(take), reason)

    def _answer_again(self, take: TakeStep) -> StepAnswered | None:
        outcome = self._outcomes.find(*named(take))
        if outcome is None:
            is_taken = (self._state(take), take.step) in TAKEN_BEFORE
            return StepAnswered(take.step, *named(take), None) if is_taken else None
        if take.step in GIVING_UP:
            return StepAnswered(take.step, *named(take), None) if outcome.reason else None
        return StepAnswered(take.step, *named(take), outcome.reason)

    def _state(self, take: TakeStep) -> SideState:
        side = self.of(named(take))
        return SideState.ABSENT if side is None else side.state

    def _refusal(self, take: TakeStep, move: Move) -> Rejection | None:
        """The first reason, in the order of the Rejection enum, not to take a first step."""
        if take.step in CREDIT_STEPS:
            row = self._accounts.row_of.get(take.to_account_id)
            missing = Rejection.TO_ACCOUNT_NOT_FOUND
        else:
            row = self._accounts.row_of.get(take.from_account_id)
            missing = Rejection.FROM_ACCOUNT_NOT_FOUND
        if row is None:
            return missing
        return self.refusal_of_move(row, move, take.amount_minor, take.currency)

    def refusal_of_move(
        self, row: int, move: Move, amount_minor: int, currency: str
    ) -> Rejection | None:
        """As `_refusal`, given the account. A side that does not receive must have the funds."""
        accounts = self._accounts
        if accounts.currency[row] != currency:
            return Rejection.CURRENCY_MISMATCH
        if not move.receives and amount_minor > accounts.available_minor(row):
            return Rejection.INSUFFICIENT_FUNDS
        if move.receives and amount_minor > accounts.room_minor(row):
            return Rejection.BALANCE_LIMIT_EXCEEDED
        held, incoming = move.held, move.incoming
        if not accounts.has_columns_for(row, amount_minor, held=held, incoming=incoming):
            return Rejection.BALANCE_LIMIT_EXCEEDED
        return None

    # --- evolve ---

    def start(self, event: TransferStarted, at_ms: int) -> None:
        """Begin the payer's side."""
        move = WAYS[event.coordination].start
        side = Side(*content_of(event), event.coordination, move.to, at_ms)
        self.payers[named(event)] = side
        self._change_account(side, event.from_account_id, SideState.ABSENT, move)

    def take(self, event: StepTaken, sequence: int, at_ms: int) -> None:
        """Move either side; the payee's may begin or end with it."""
        name = named(event)
        side = self.of(name)
        state = SideState.ABSENT if side is None else side.state
        move = MOVES[state, event.step]
        self._change_account(event, account_of(event), state, move)
        self._hold_ends_ms.pop(name, None)
        if move.to in FINAL:
            assert name not in self.payers, "a payer's side ends with the transfer"
            self._payees.pop(name, None)
            gave_up = move.to is SideState.UNDONE
            self._outcomes.remember(event, sequence, Rejection.CANCELLED if gave_up else None)
            return
        if side is None:
            side = Side(*content_of(event), Coordination.NONE, move.to, at_ms)
            self._payees[name] = side
        side.state = move.to
        side.ticks = 0
        if move.to is SideState.HELD:
            self._hold_ends_ms[name] = at_ms + HOLD_MS

    def finish(self, event: TransferFinished, sequence: int) -> None:
        """End the payer's side, and with it the transfer."""
        name = named(event)
        side = self.payers.pop(name)
        move = MOVES[side.state, event.step]
        if not (move.may_be_refused and event.reason is not None):
            assert move.to in FINAL, "a transfer ends with a last step"
            self._change_account(side, event.from_account_id, side.state, move)
        self._hold_ends_ms.pop(name, None)
        self._outcomes.remember(side, sequence, event.reason)

    def _change_account(self, of: Contents, account_id: str, state: SideState, move: Move) -> None:
        """Do to the account of a side what a step does that finds the side in a state."""
        row_of = self._accounts.row_of
        if state is _LOCKED or move.to is _LOCKED:
            self._lock_or_release(row_of[account_id], move)
        posted, held, incoming = move.posted, move.held, move.incoming
        if posted or held or incoming:  # else there may be no such account
            amount = of.amount_minor
            self._accounts.change(
                row_of[account_id], posted * amount, held * amount, incoming * amount
            )
            if posted:
                sent = self.net_sent_minor.get(of.currency, 0)
                self.net_sent_minor[of.currency] = sent - posted * amount

    def _lock_or_release(self, row: int, move: Move) -> None:
        if move.to is _LOCKED:
            assert row not in self.locked_rows, "one vote at a time"
            self.locked_rows.add(row)
        else:
            self.locked_rows.remove(row)
            self.released.append(row)

    # --- snapshots ---

    def freeze(self) -> Iterator[bytes]:
        """See Rules. Of a side only its state changes, so that is what is copied."""
        sides = [*self.payers.values(), *self._payees.values()]
        extent = _Extent(
            payers=len(self.payers),
            payees=len(self._payees),
            locked_rows=sorted(self.locked_rows),
            net_sent_minor=[(name, str(sent)) for name, sent in self.net_sent_minor.items()],
            hold_count=len(self._hold_ends_ms),
        )
        return _blocks(
            extent, sides, [side.state for side in sides], list(self._hold_ends_ms.items())
        )

    def thaw(self) -> Thaw:
        """See Rules."""
        extent = _EXTENT.read((yield))
        self.locked_rows.update(extent.locked_rows)
        self.net_sent_minor.update((name, int(sent)) for name, sent in extent.net_sent_minor)
        while len(self.payers) + len(self._payees) < extent.payers + extent.payees:
            for of in _SIDES.read((yield)):
                among = self.payers if len(self.payers) < extent.payers else self._payees
                side = Side(*content_of(of), of.coordination, of.state, of.started_at_ms)
                among[side.from_account_id, side.transaction_id] = side
        while len(self._hold_ends_ms) < extent.hold_count:
            for payer_id, transaction_id, ends_ms in _HOLDS.read((yield)):
                self._hold_ends_ms[payer_id, transaction_id] = ends_ms


def _blocks(
    extent: _Extent, sides: list[Side], states: list[SideState], holds: list[tuple[Name, int]]
) -> Iterator[bytes]:
    yield encoded(extent)
    for at in range(0, len(sides), _SIDES_OF_BLOCK):
        some = slice(at, at + _SIDES_OF_BLOCK)
        yield encoded(
            [
                _Unfinished(*content_of(side), side.coordination, side.started_at_ms, state)
                for side, state in zip(sides[some], states[some], strict=True)
            ]
        )
    for at in range(0, len(holds), _SIDES_OF_BLOCK):
        yield encoded([(*name, ends_ms) for name, ends_ms in holds[at : at + _SIDES_OF_BLOCK]])


def named(of: TakeStep | StepAnswered | TransferStarted | TransferFinished | StepTaken) -> Name:
    """The transfer's name."""
    return of.from_account_id, of.transaction_id


def content_of(of: Contents) -> Content:
    """What a transfer is."""
    return (
        of.from_account_id,
        of.to_account_id,
        of.amount_minor,
        of.currency,
        of.transaction_id,
    )


def account_of(of: TakeStep | StepTaken) -> str:
    """The account that a step is about."""
    return of.to_account_id if of.step in CREDIT_STEPS else of.from_account_id


def late(asker: Ticking) -> bool:
    """Let a tick pass; whether it is time to ask again for what it waits for."""
    asker.ticks += 1
    return asker.ticks in RESEND_TICKS or asker.ticks % RESEND_TICKS_MAX == 0
