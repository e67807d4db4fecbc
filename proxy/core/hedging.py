"""Which questions to readers are soon asked once more, beside the first: the hedges.

A reader that is killed takes with it what it was asked, and nobody tells who asked; one that is
paused or cut off goes on taking its share. So what is not answered as soon as nearly all others is
asked once more, of all readers (Dean and Barroso, "The Tail at Scale", 2013). How soon that is
follows the answers: where many take longer, as on a busy machine, each would be hedged, and none be
left for a death. Readers that are all slow are not helped by more questions. They answer about in
the order in which they were asked, so only these are asked once more:

    overtaken     one that was asked later was answered, by a reader that is better off
    the newest    nothing was asked since that could tell

And hedges are a small share of the questions, but for a burst that is saved up for a death:

    a question    adds a part of a hedge, 1 / QUESTIONS_PER_HEDGE, until HEDGES_MAX are saved up
    a hedge       takes a whole one, and each reader has it to answer; where there is none, it is
                  left to the repeats after 0.8 s
    a loss        gives it back: whose first question never gets an answer needed its hedge, also
                  where nobody answered that

What a question awaits says whether a slow answer is right:

    nothing       answered at once, or the reader is slow or dead
    a sequence    told to the client by some reader, so others are there within milliseconds: hedged
                  in vain only for a sequence that was made up
    the past      read from a store, which may be slow
    an outcome    mostly there already, and then like the first; else the client wants to wait. If a
                  reader dies later, a hedge is of little use: half of the time it is at that reader
                  too, as the first question is. Such a loss is left to the repeats

So questions that ask for the same and await the same save up for themselves: those that are slow
rightly, as for an outcome or from a slow store, use up no other's hedges.

Owns the rule and the account; knows no clock and asks nobody.
"""

from enum import Enum, auto
from typing import Final

from contracts.queries import (
    AccountQuery,
    ChangesQuery,
    CreditStepsQuery,
    EntriesQuery,
    Query,
    TransferQuery,
    UnfinishedQuery,
)

QUESTIONS_PER_HEDGE: Final = 20
"""Of two overloaded readers each gets 10 % more to do, and no more than that for long; unless one
is a second behind the other: it counts as gone, and HEDGES_MAX may be out for it at any time."""
SOON_S_MIN: Final = 0.025
"""A loss must cost less than 100 ms. Nearly all answers come within some milliseconds."""
SOON_S_MAX: Final = 0.2
"""Slower readers are not helped by hedges."""
_LONGER: Final = 1.05
_SHORTER: Final = _LONGER ** (-1 / (QUESTIONS_PER_HEDGE - 1))
"""So many steps down for one up: then as many answers come later as there are hedges for."""
HEDGES_MAX: Final = 256
"""As many as one of two readers has of 512 clients that ask all the time. In vain, at readers that
take 0.1 ms for each, they cost 26 ms once."""


class Awaited(Enum):
    """What a reader may wait for, or must look up, before it answers."""

    NOTHING = auto()
    SEQUENCE = auto()
    """That it has read so far."""
    PAST = auto()
    """What was, which a reader has in its store and not in memory."""
    OUTCOME = auto()
    """That of a transfer."""


def awaited(query: Query) -> Awaited:
    """What a query says to wait for."""
    match query:
        case CreditStepsQuery() | UnfinishedQuery():
            return Awaited.NOTHING
        case TransferQuery() if query.wait_ms:
            return Awaited.OUTCOME
        case AccountQuery() if query.at_sequence is not None or query.at_ms is not None:
            return Awaited.PAST
        case AccountQuery() | EntriesQuery() | TransferQuery() | ChangesQuery():
            return Awaited.SEQUENCE if query.min_sequence else Awaited.NOTHING


class Hedges:
    """Those that questions of one kind have saved up; at the start as many as they may."""

    def __init__(self) -> None:
        self._saved = HEDGES_MAX * QUESTIONS_PER_HEDGE
        """In parts, of which a question adds one."""
        self._newest = 0
        """The question that was asked last."""
        self._newest_answered = 0
        self.soon_s = SOON_S_MIN
        """When a question may be asked once more: most answers come sooner."""

    def note_question(self) -> int:
        """One is asked. Give its number: one more than that of the one before."""
        self._saved = min(self._saved + 1, HEDGES_MAX * QUESTIONS_PER_HEDGE)
        self._newest += 1
        return self._newest

    def note_answer(self, number: int) -> None:
        """A question is answered."""
        self._newest_answered = max(self._newest_answered, number)

    def give_back(self) -> None:
        """A hedge was needed, and took nobody's place: its question got no other answer."""
        self._saved = min(self._saved + QUESTIONS_PER_HEDGE, HEDGES_MAX * QUESTIONS_PER_HEDGE)

    def note_time(self, took_s: float) -> None:
        """So long a reader took for an answer, whether or not a hedge got one sooner.

        One that answers nothing at all says nothing about how long answers take.
        """
        soon_s = self.soon_s * (_LONGER if took_s > self.soon_s else _SHORTER)
        self.soon_s = max(SOON_S_MIN, min(soon_s, SOON_S_MAX))

    def take(self, number: int) -> bool:
        """Whether a question shall be asked once more now; then a hedge is taken."""
        is_overtaken = number < self._newest_answered
        if not (is_overtaken or number == self._newest) or self._saved < QUESTIONS_PER_HEDGE:
            return False
        self._saved -= QUESTIONS_PER_HEDGE
        return True
