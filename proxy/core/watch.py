"""One watched account: who listens to it, and what each is told.

Every listener is told each change once and in order, from its own place on; or, when it missed too
much, how the account stands now, and that changes were left out. Knows nothing of partitions,
connections or clocks.

    waiting ─▶ live      an answer told it what changed up to a place that frames go on from
       ▲        │
       └────────┘ frames are missing: it waits for an answer that tells what was in them

While somebody waits, what frames bring is kept, so that answer and frames join without a gap.

Sequences of an account, and which may be behind which:

    seen              up to where frames have covered the account; its channel knows, it never falls
    _covered_from     while somebody waits: where they began, or began again behind a gap; <= seen
    _taken            the newest change that they brought; <= seen
    present.sequence  the newest that frames told, or the first answer; >= _taken, and ahead of
                      `seen` where the answer was another reader's
    told              of a listener: who waits may claim any; who is live has been told all up to
                      `seen` and up to its `told`
"""

from collections.abc import Hashable, Iterator
from typing import Final, Generic, NamedTuple, TypeVar

from msgspec import Struct, structs

from contracts.changes import Change
from contracts.queries import AccountChanges, Missing

L = TypeVar("L", bound=Hashable)

RECENT_MAX: Final = 1_024
"""Changes of an account that are kept while somebody waits; beyond it the answer must reach
further."""


class Terms(Struct, frozen=True):
    """What never changes about an account."""

    account_id: str
    partition: int
    currency: str
    overdraft_limit_minor: int


class Standing(Struct, frozen=True):
    """How an account stands at a sequence."""

    terms: Terms
    posted_minor: int
    held_minor: int
    sequence: int
    at_ms: int
    is_conflated: bool = False
    """Changes before it were left out."""


class Changed(Struct, frozen=True):
    """One change of an account."""

    terms: Terms
    change: Change


class Refused(Struct, frozen=True):
    """The account is not watched."""

    account_id: str
    missing: Missing


News = Standing | Changed | Refused


class Told(NamedTuple, Generic[L]):
    """What some listeners are told."""

    listeners: list[L]
    news: News


class Ask(Struct, frozen=True):
    """What has to be asked about an account."""

    account_id: str
    after_sequence: int | None
    """What changed since; None: only how it stands."""
    min_sequence: int
    """The answer must reach so far; some reader does."""


class _Place(NamedTuple):
    """Up to where a waiting listener was told."""

    told: int | None
    """None: it was told nothing and wants no past."""
    wants_standing: bool
    """It is new: it is told how the account stands when it has heard what it missed."""


class Watch(Generic[L]):
    """The listeners of one account. `since` is the `Listen` version that covers it."""

    def __init__(self, account_id: str, partition: int, slot: int, since: int) -> None:
        self.account_id = account_id
        self.slot = slot
        self.since = since
        self._partition = partition
        self._present: Standing | None = None
        """The newest that is known; None while frames are missing."""
        self._taken = 0
        """The newest change that a frame brought; an answer may have told of later ones."""
        self._live: dict[L, int] = {}
        """With the sequence up to which each was told when it became live."""
        self._waiting: dict[L, _Place] = {}
        self._covered_from: int | None = None
        """While somebody waits: behind this sequence frames bring every change."""
        self._recent: list[Change] = []
        """While somebody waits: what frames brought behind it."""
        self._asked: Ask | None = None
        """Just now."""
        self._was_too_much = False
        """The last answer did not hold what somebody had missed."""
        self._late: set[L] = set()
        """Who came after that: the account may have been opened in between."""

    @property
    def is_idle(self) -> bool:
        """Whether nobody listens."""
        return not self._live and not self._waiting

    def add(self, listener: L, from_sequence: int | None, seen: int | None) -> Iterator[Told[L]]:
        """A new listener, which knows the account up to a sequence; None: it knows nothing.

        Frames have covered the account up to `seen`; None: they don't cover it yet.
        """
        self.remove(listener)
        present = self._present
        if from_sequence is None and present is not None and seen is not None:
            sequence = max(seen, present.sequence)
            self._live[listener] = sequence
            yield Told([listener], structs.replace(present, sequence=sequence))
            return
        if present is not None and seen is not None and not self._waiting:
            self._covered_from = seen
            self._recent = []
        self._waiting[listener] = _Place(from_sequence, wants_standing=True)
        if self._asked is not None:
            self._late.add(listener)

    def remove(self, listener: L) -> None:
        """It listens no more."""
        self._live.pop(listener, None)
        self._waiting.pop(listener, None)
        self._late.discard(listener)

    def cover(self, after_sequence: int, seen: int) -> None:
        """Frames cover the account from here on, and what they brought before `seen`.

        Between the two something may be missing.
        """
        for listener, told in self._live.items():
            self._waiting[listener] = _Place(max(told, seen), wants_standing=False)
        self._live.clear()
        self._present = None
        self._covered_from = self._taken = after_sequence
        self._recent = []

    def take(self, change: Change) -> Iterator[Told[L]]:
        """A frame brought a change, perhaps not for the first time."""
        if change.sequence <= self._taken:
            return
        self._taken = change.sequence
        if self._waiting:
            self._keep(change)
        present = self._present
        if present is None:
            return
        if change.sequence > present.sequence:
            self._present = _standing(present.terms, change)
        listeners = [each for each, told in self._live.items() if told < change.sequence]
        if listeners:
            yield Told(listeners, Changed(present.terms, change))

    def ask(self, seen: int) -> Ask | int | None:
        """What to ask now for those that are not ahead of `seen`; `settle` must follow.

        If all are, the least of their places: look again when frames get there.
        """
        if self._covered_from is None or self._asked is not None:
            return None
        places = [place.told for place in self._waiting.values()]
        behind = [each for each in places if each is None or each <= seen]
        told = sorted(each for each in behind or places if each is not None)
        if not behind:
            return told[0] if told else None
        # Who had missed most had missed too much. That need not be true of others: the answer
        # about the middle one settles half of them.
        middle = len(told) // 2 if self._was_too_much else 0
        self._late.clear()
        # Of an earlier sequence a reader might say less than what clients can know by now.
        known = seen if self._present is None else max(seen, self._present.sequence)
        self._asked = Ask(self.account_id, told[middle] if told else None, known)
        return self._asked

    def settle(self, ask: Ask) -> None:
        """It is answered, or nobody knows; what is still missing may be asked again.

        One of an earlier watch of the account, which was left meanwhile, settles nothing.
        """
        if ask is self._asked:
            self._asked = None

    def refuse(self, ask: Ask, sequence: int) -> Iterator[Told[L]]:
        """There was no such account at a sequence: refuse who claims no later place.

        It is asked again if frames began anew behind that, as another reader may know it; and for
        who came since it was asked, and may know that the account was opened.
        """
        if ask is not self._asked or self._covered_from is None or sequence < self._covered_from:
            return
        refused = [
            each
            for each, (told, _) in self._waiting.items()
            if (told or 0) <= sequence and each not in self._late
        ]
        for each in refused:
            del self._waiting[each]
        if refused:
            yield Told(refused, Refused(self.account_id, Missing.ACCOUNT))

    def refuse_claim(self, listener: L, seen: int) -> Iterator[Told[L]]:
        """Refuse a new listener that has waited long enough for what it claims to know."""
        place = self._waiting.get(listener)
        if place is None or not place.wants_standing or place.told is None or place.told <= seen:
            return
        self.remove(listener)
        yield Told([listener], Refused(self.account_id, Missing.SEQUENCE))

    def answer(
        self, ask: Ask, found: AccountChanges, sequence: int, at_ms: int
    ) -> Iterator[Told[L]]:
        """The account at a sequence, and what changed before."""
        terms = Terms(self.account_id, self._partition, found.currency, found.overdraft_limit_minor)
        standing = Standing(terms, found.posted_minor, found.held_minor, sequence, at_ms)
        covered_from = self._covered_from
        joins = covered_from is not None and sequence >= covered_from
        too_much = _too_much_up_to(ask, found)
        self._was_too_much = too_much is not None
        for place, listeners in self._by_place():
            if not _is_about(place, found, sequence, too_much):
                continue
            yield from _catch_up(listeners, place, found, standing)
            for each in listeners:
                if joins:
                    del self._waiting[each]
                    self._live[each] = sequence
                else:
                    self._waiting[each] = _Place(sequence, wants_standing=False)
            if joins:
                yield from self._recent_after(sequence, listeners, terms)
        if joins and self._present is None:
            recent = self._recent
            is_newer = bool(recent) and recent[-1].sequence > sequence
            self._present = _standing(terms, recent[-1]) if is_newer else standing

    def _recent_after(self, sequence: int, listeners: list[L], terms: Terms) -> Iterator[Told[L]]:
        for change in self._recent:
            if change.sequence > sequence:
                yield Told(listeners, Changed(terms, change))

    def _by_place(self) -> list[tuple[_Place, list[L]]]:
        """Those that wait; the many that were told the same are told on together."""
        groups: dict[_Place, list[L]] = {}
        for listener, place in self._waiting.items():
            groups.setdefault(place, []).append(listener)
        return list(groups.items())

    def _keep(self, change: Change) -> None:
        if len(self._recent) >= RECENT_MAX:
            self._covered_from, self._recent = change.sequence, []
        else:
            self._recent.append(change)


def _too_much_up_to(ask: Ask, found: AccountChanges) -> int | None:
    """Who was told no further has missed more than an answer holds; None: it holds all."""
    after = ask.after_sequence
    return after if after is not None and after < found.complete_after else None


def _is_about(place: _Place, found: AccountChanges, sequence: int, too_much: int | None) -> bool:
    """Whether an answer tells what a listener has missed, or that it missed too much."""
    if place.told is None:
        return True
    is_left_out = too_much is not None and place.told <= too_much
    return place.told <= sequence and (place.told >= found.complete_after or is_left_out)


def _catch_up(
    listeners: list[L], place: _Place, found: AccountChanges, standing: Standing
) -> Iterator[Told[L]]:
    """Tell what is missing, and how the account stands if they want to know."""
    told = place.told
    if told is not None and told < found.complete_after:
        yield Told(listeners, structs.replace(standing, is_conflated=True))
        return
    for change in found.changes:
        if told is not None and change.sequence > told:
            yield Told(listeners, Changed(standing.terms, change))
    if place.wants_standing:
        yield Told(listeners, standing)


def _standing(terms: Terms, change: Change) -> Standing:
    return Standing(terms, change.posted_minor, change.held_minor, change.sequence, change.at_ms)
