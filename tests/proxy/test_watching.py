"""Watching: every change once and in order, whatever becomes of frames, readers and answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.changes import Change, ChangeFrame, Direction, Listen
from contracts.partitioning import SlotMap
from contracts.queries import AccountChanges, ChangesAnswer, Missing, NotFound
from proxy.core.watch import RECENT_MAX, Ask, Changed, Refused, Standing, Told
from proxy.core.watching import Watching, sequence_asked_for
from reader.core.listening import Listening, joined

ACCOUNTS = ("ann", "bob", "cho", "dan")
REPLAY_MAX = 6
"""Small, so that some miss too much."""


class Ledger:
    """One partition's accounts, whose changes are known from the first event on."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.tip = 0

    def move(self, account_id: str) -> Change:
        """One more event, which changes an account."""
        self.tip += 1
        posted = self.posted(account_id, self.tip) + 1
        change = Change(
            account_id, self.tip, self.tip, posted, 0, f"t{self.tip}", 1, Direction.CREDIT
        )
        self.changes.append(change)
        return change

    def of(self, account_id: str, after: int, until: int) -> list[Change]:
        return [
            each
            for each in self.changes
            if each.account_id == account_id and after < each.sequence <= until
        ]

    def posted(self, account_id: str, sequence: int) -> int:
        return len(self.of(account_id, 0, sequence))

    def answer(self, asks: Iterable[Ask], tip: int) -> ChangesAnswer | NotFound:
        """What a reader at a tip says."""
        asks = list(asks)
        if sequence_asked_for(asks) > tip:
            return NotFound(0, tip, Missing.SEQUENCE)
        return ChangesAnswer(0, tip, tip, [self._account(ask, tip) for ask in asks])

    def _account(self, ask: Ask, tip: int) -> AccountChanges | None:
        if ask.account_id not in ACCOUNTS:
            return None
        after, found = ask.after_sequence, None
        if after is not None:
            found = self.of(ask.account_id, after, tip)
            found = found if len(found) <= REPLAY_MAX else None
        complete_after = tip if after is None or found is None else min(after, tip)
        posted = self.posted(ask.account_id, tip)
        return AccountChanges("USD", 0, posted, 0, complete_after, found or [])


class Reader:
    """Follows the ledger at its own pace and pushes what is listened to."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.tip = ledger.tip
        self.listening = Listening(0)

    def hear(self, listen: Listen) -> list[ChangeFrame]:
        return self.listening.heard(listen, 0, self.tip)

    def go_on(self, events: int) -> list[ChangeFrame]:
        frames = []
        for change in self.ledger.changes[self.tip : self.tip + events]:
            self.tip = change.sequence
            if self.listening and self.listening.includes(change.account_id):
                frames += self.listening.frames([change], self.tip)
        return joined(frames)


@dataclass
class Client:
    """Checks what it is told: nothing missing, nothing twice, nothing out of order."""

    ledger: Ledger
    account_id: str
    place: int | None
    """Up to where it knows the account; None: nothing yet."""
    is_refused: bool = False
    conflated: int = 0
    heard: list[int] = field(default_factory=list)

    def take(self, news: Standing | Changed | Refused) -> None:
        assert not self.is_refused
        match news:
            case Changed(change=change):
                assert self.place is not None, "first of all it is told how the account stands"
                assert change.sequence > self.place, "twice, or out of order"
                missed = self.ledger.of(self.account_id, self.place, change.sequence - 1)
                assert not missed, "a change is missing"
                assert change in self.ledger.changes
                self.place = change.sequence
                self.heard.append(change.sequence)
            case Standing():
                assert news.posted_minor == self.ledger.posted(self.account_id, news.sequence)
                if self.place is not None:
                    assert news.sequence >= self.place
                    missed = self.ledger.of(self.account_id, self.place, news.sequence)
                    assert bool(missed) <= news.is_conflated, "a change is missing"
                    self.conflated += news.is_conflated
                self.place = news.sequence
            case Refused():
                self.is_refused = True

    def check_complete(self) -> None:
        assert self.is_refused or self.place is not None
        if not self.is_refused:
            assert self.place is not None
            assert not self.ledger.of(self.account_id, self.place, self.ledger.tip)


class Stage:
    """A proxy, two readers, and everything that can happen between them."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.ledger = Ledger()
        self.readers = [Reader(self.ledger), Reader(self.ledger)]
        self.watching: Watching[int] = Watching("p", SlotMap.even(1))
        self.clients: dict[int, Client] = {}
        self.gone: list[Client] = []
        self.frames: list[ChangeFrame] = []
        """On their way."""
        self.listens: list[tuple[Reader, Listen]] = []
        self.asked: list[list[Ask]] = []
        self.number = 0

    def play(self, steps: int) -> None:
        deeds = (
            (self.move, 8),
            (self.follow, 6),
            (self.deliver, 8),
            (self.say, 4),
            (self.hear, 6),
            (self.ask, 5),
            (self.answer, 5),
            (self.subscribe, 2),
            (self.unsubscribe, 1),
            (self.restart_reader, 0.3),
            (self.lose, 1),
        )
        acts, weights = zip(*deeds, strict=True)
        for _ in range(steps):
            self.chance.choices(acts, weights)[0]()

    def come_to_rest(self) -> None:
        """Nothing more is lost: the readers catch up, and heartbeats go on."""
        for _ in range(6):
            for reader in self.readers:
                self.frames += reader.go_on(self.ledger.tip)
                for partition in self.watching.partitions:
                    self.frames += reader.hear(self.watching.listen(partition))
            while self.frames:
                self.tell(self.watching.take(self.frames.pop(0)))
            while asks := asked(self.watching):
                self.tell(
                    self.watching.answered(0, asks, self.ledger.answer(asks, self.ledger.tip))
                )
            while self.asked:
                self.answer(lost=0.0)

    # --- deeds ---

    def move(self) -> None:
        for _ in range(self.chance.choice((1, 1, 1, 9))):
            self.ledger.move(self.chance.choice(ACCOUNTS))

    def follow(self) -> None:
        self.frames += self.chance.choice(self.readers).go_on(self.chance.randint(1, 5))

    def deliver(self) -> None:
        if not self.frames:
            return
        at = 0 if self.chance.random() < 0.9 else self.chance.randrange(len(self.frames))
        frame = self.frames.pop(at)
        for _ in range(self.chance.choices((0, 1, 2), (1, 12, 1))[0]):
            self.tell(self.watching.take(frame))

    def lose(self) -> None:
        self.frames.clear()

    def say(self) -> None:
        said = self.watching.listens()
        if self.chance.random() < 0.3:
            said += [(each, self.watching.listen(each)) for each in self.watching.partitions]
        self.listens += [(reader, listen) for _, listen in said for reader in self.readers]

    def hear(self) -> None:
        if self.listens:
            reader, listen = self.listens.pop(0)
            if reader in self.readers and self.chance.random() < 0.9:
                self.frames += reader.hear(listen)

    def ask(self) -> None:
        most = self.chance.choice((1, 2, 9))
        are_ahead = self.chance.random() < 0.5
        if asks := self.watching.asks(0, most, are_ahead=are_ahead):
            self.asked.append(asks)

    def answer(self, lost: float = 0.2) -> None:
        if not self.asked:
            return
        asks = self.asked.pop(self.chance.randrange(len(self.asked)))
        reader = self.chance.choice(self.readers)
        if not asks[0].is_ahead:
            self.frames += reader.go_on(sequence_asked_for(asks) - reader.tip)
        answer: ChangesAnswer | NotFound | None = self.ledger.answer(asks, reader.tip)
        if self.chance.random() < lost:
            answer = None
        elif isinstance(answer, ChangesAnswer) and self.chance.random() < lost:
            answer = ChangesAnswer(0, answer.sequence, answer.at_ms, answer.accounts[:1])
        self.tell(self.watching.answered(0, asks, answer))

    def subscribe(self) -> None:
        account_id = self.chance.choice((*ACCOUNTS, *ACCOUNTS, "nobody"))
        sequence = None
        if self.gone and self.chance.random() < 0.5:
            client = self.gone.pop(self.chance.randrange(len(self.gone)))  # it comes back
            if client.is_refused:
                return
            account_id, sequence = client.account_id, client.place
        elif self.chance.random() < 0.3:
            sequence = self.chance.randint(0, self.ledger.tip)
        elif self.chance.random() < 0.1:
            sequence = self.ledger.tip + 1_000
        self.number += 1
        self.clients[self.number] = Client(self.ledger, account_id, sequence)
        self.tell(self.watching.subscribe(self.number, account_id, sequence))

    def unsubscribe(self) -> None:
        if self.clients:
            number = self.chance.choice(list(self.clients))
            client = self.clients.pop(number)
            self.watching.unsubscribe(number, client.account_id)
            self.gone.append(client)

    def restart_reader(self) -> None:
        """It forgets who listens, and says that it is there."""
        at = self.chance.randrange(2)
        reader = self.readers[at] = Reader(self.ledger)
        self.frames.append(ChangeFrame(0, reader.tip, reader.tip, {}, []))

    def tell(self, told: Iterable[Told[int]]) -> None:
        for listeners, news in told:
            for number in listeners:
                self.clients[number].take(news)


@settings(max_examples=250)
@given(st.integers(0, 2**32), st.integers(10, 400))
def test_every_client_is_told_every_change_once_and_in_order(seed: int, steps: int) -> None:
    """With frames lost, doubled and late, and readers that start anew; or it is told so."""
    stage = Stage(seed)
    stage.play(steps)
    stage.come_to_rest()
    for client in stage.clients.values():
        client.check_complete()
        assert client.is_refused or client.account_id in ACCOUNTS


def test_the_stage_shows_what_it_should() -> None:
    """Replays, conflations and refusals happen in what the property above plays."""
    seen = {"conflated": 0, "refused": 0, "heard": 0}
    for seed in range(60):
        stage = Stage(seed)
        stage.play(300)
        for client in (*stage.clients.values(), *stage.gone):
            seen["conflated"] += client.conflated
            seen["refused"] += client.is_refused
            seen["heard"] += len(client.heard)
    assert min(seen.values()) > 10, seen


# --- one thing after the other ---


def watched(*frames: ChangeFrame) -> Watching[str]:
    watching: Watching[str] = Watching("p", SlotMap.even(1))
    for frame in frames:
        assert not list(watching.take(frame))
    return watching


def frame(after: int, tip: int, *changes: Change, version: int = 1) -> ChangeFrame:
    return ChangeFrame(0, after, tip, {"p": version}, list(changes))


def change(sequence: int, account_id: str = "ann") -> Change:
    return Change(account_id, sequence, sequence, sequence, 0, "t", 1, Direction.CREDIT)


def stood(sequence: int) -> ChangesAnswer:
    return ChangesAnswer(0, sequence, 1, [AccountChanges("USD", 0, 5, 0, sequence, [])])


def asked(watching: Watching[Any]) -> list[Ask]:
    """The next question."""
    return watching.asks(0, 9, are_ahead=True) or watching.asks(0, 9, are_ahead=False)


def news_of(told: Iterable[Told[str]]) -> Iterator[tuple[list[str], str, int]]:
    for listeners, news in told:
        match news:
            case Changed(change=found):
                yield listeners, "change", found.sequence
            case Standing():
                yield listeners, "conflated" if news.is_conflated else "stands", news.sequence
            case Refused():
                yield listeners, "refused", news.missing


def live(listener: str = "one") -> Watching[str]:
    """Ann stands at 10 and is watched."""
    watching = watched()
    assert watching.subscribe(listener, "ann", None) == []
    assert list(watching.take(frame(10, 10))) == []
    asks = asked(watching)
    assert asks == [Ask("ann", None, 10, is_ahead=False)]
    told = list(news_of(watching.answered(0, asks, stood(10))))
    assert told == [([listener], "stands", 10)]
    return watching


def test_nothing_is_asked_before_frames_cover_the_account() -> None:
    watching = watched()
    watching.subscribe("one", "ann", None)
    assert asked(watching) == []
    (said,) = watching.listens()
    assert said == (0, watching.listen(0))
    assert not watching.has_to_say()


def test_a_second_listener_is_told_at_once_without_asking() -> None:
    watching = live()
    list(watching.take(frame(10, 14, change(12))))
    assert list(news_of(watching.subscribe("two", "ann", None))) == [(["two"], "stands", 14)]
    assert asked(watching) == []
    told = list(news_of(watching.take(frame(14, 15, change(15)))))
    assert told == [(["one", "two"], "change", 15)]


def test_what_several_readers_push_is_told_once() -> None:
    watching = live()
    taken = [
        frame(10, 14, change(12)),
        frame(10, 12, change(12)),
        frame(12, 16, change(15)),
        frame(14, 18, change(15), change(17)),
    ]
    told = [each for frame in taken for each in news_of(watching.take(frame))]
    assert told == [(["one"], "change", sequence) for sequence in (12, 15, 17)]


def test_a_gap_is_asked_for_and_what_came_meanwhile_follows() -> None:
    watching = live()
    assert list(watching.take(frame(20, 22, change(21)))) == []
    assert list(watching.take(frame(22, 23, change(23)))) == []
    asks = asked(watching)
    assert asks == [Ask("ann", 10, 20, is_ahead=False)]
    found = AccountChanges("USD", 0, 5, 0, 10, [change(15), change(21)])
    answer = ChangesAnswer(0, 22, 1, [found])
    assert list(news_of(watching.answered(0, asks, answer))) == [
        (["one"], "change", 15),
        (["one"], "change", 21),
        (["one"], "change", 23),
    ]


def test_an_empty_frame_shows_what_was_lost_before_it() -> None:
    """As each heartbeat brings one."""
    watching = live()
    assert list(watching.take(frame(20, 20))) == []
    assert asked(watching) == [Ask("ann", 10, 20, is_ahead=False)]


def test_who_missed_too_much_is_told_so() -> None:
    watching = live()
    watching.take(frame(20, 20))
    list(watching.take(frame(5_000, 5_000)))
    asks = asked(watching)
    found = AccountChanges("USD", 0, 5, 0, 5_000, [])
    told = watching.answered(0, asks, ChangesAnswer(0, 5_000, 1, [found]))
    assert list(news_of(told)) == [(["one"], "conflated", 5_000)]


def test_who_comes_back_is_told_what_it_missed_and_then_how_the_account_stands() -> None:
    watching = live()
    assert watching.subscribe("two", "ann", 4) == []
    asks = asked(watching)
    assert asks == [Ask("ann", 4, 10, is_ahead=False)]
    told = list(news_of(watching.take(frame(10, 12, change(12)))))
    assert told == [(["one"], "change", 12)], "nobody waits for another's past"
    found = AccountChanges("USD", 0, 5, 0, 4, [change(7)])
    told = list(news_of(watching.answered(0, asks, ChangesAnswer(0, 10, 1, [found]))))
    assert told == [
        (["two"], "change", 7),
        (["two"], "stands", 10),
        (["two"], "change", 12),
    ]


def test_who_claims_to_know_the_future_is_refused_unless_it_comes() -> None:
    watching = live()
    watching.subscribe("two", "ann", 99)
    asks = asked(watching)
    assert asks == [Ask("ann", 99, 99, is_ahead=True)]
    told = watching.answered(0, asks, NotFound(0, 10, Missing.SEQUENCE))
    assert list(news_of(told)) == [(["two"], "refused", Missing.SEQUENCE)]
    told = list(watching.take(frame(10, 11, change(11))))
    assert list(news_of(told)) == [(["one"], "change", 11)], "the others watch on"


@pytest.mark.parametrize("place", [None, 10, 4])
def test_nobody_waits_for_who_is_ahead_on_the_same_account(place: int | None) -> None:
    """Whether the others come first, at the same time or while its question is out."""
    for turn in range(3):
        watching = watched()
        watching.subscribe("far", "ann", 99)
        if turn == 0:
            watching.subscribe("other", "ann", place)
        list(watching.take(frame(10, 10)))
        if turn == 1:
            watching.subscribe("other", "ann", place)
        (ahead,) = watching.asks(0, 9, are_ahead=True)
        assert ahead == Ask("ann", 99, 99, is_ahead=True)
        if turn == 2:
            watching.subscribe("other", "ann", place)
        asks = watching.asks(0, 9, are_ahead=False)
        assert asks == [Ask("ann", place, 10, is_ahead=False)]
        found = AccountChanges("USD", 0, 5, 0, 10 if place is None else place, [])
        told = list(news_of(watching.answered(0, asks, ChangesAnswer(0, 10, 1, [found]))))
        assert told == [(["other"], "stands", 10)]
        told = list(news_of(watching.answered(0, [ahead], NotFound(0, 10, Missing.SEQUENCE))))
        assert told == [(["far"], "refused", Missing.SEQUENCE)]


def test_who_is_not_ahead_any_more_is_asked_for_like_the_others() -> None:
    watching = live()
    watching.subscribe("two", "ann", 12)
    list(watching.take(frame(10, 13, change(13))))
    assert watching.asks(0, 9, are_ahead=True) == []
    assert watching.asks(0, 9, are_ahead=False) == [Ask("ann", 12, 10, is_ahead=False)]


def test_who_is_a_little_ahead_does_not_wait_for_who_is_far() -> None:
    """Though both are asked for together."""
    watching = watched()
    watching.subscribe("far", "ann", 2**53)
    watching.subscribe("near", "bob", 11)
    list(watching.take(frame(10, 10, version=2)))
    asks = watching.asks(0, 9, are_ahead=True)
    assert sequence_asked_for(asks) == 11
    far, near = (AccountChanges("USD", 0, 5, 0, 11, []) for _ in range(2))
    told = watching.answered(0, asks, ChangesAnswer(0, 11, 1, [far, near]))
    assert list(news_of(told)) == [(["near"], "stands", 11)]
    assert [ask.account_id for ask in watching.asks(0, 9, are_ahead=True)] == ["ann"]


def test_a_question_holds_so_much_and_no_more_and_nobody_is_forgotten() -> None:
    watching = watched()
    for account_id in ACCOUNTS:
        watching.subscribe("one", account_id, None)
    list(watching.take(frame(10, 10, version=len(ACCOUNTS))))
    asks = [watching.asks(0, 3, are_ahead=False) for _ in range(3)]
    assert [[ask.account_id for ask in each] for each in asks] == [
        ["ann", "bob", "cho"],
        ["dan"],
        [],
    ]
    watching.answered(0, asks[0], None)
    again = watching.asks(0, 9, are_ahead=False)
    assert [ask.account_id for ask in again] == ["ann", "bob", "cho"], "and dan is asked already"


def test_an_unknown_account_is_refused_and_forgotten() -> None:
    watching = watched()
    watching.subscribe("one", "nobody", None)
    watching.listens()
    list(watching.take(frame(10, 10)))
    told = watching.answered(0, asked(watching), ChangesAnswer(0, 10, 1, [None]))
    assert list(news_of(told)) == [(["one"], "refused", Missing.ACCOUNT)]
    assert watching.partitions == []
    ((_, said),) = watching.listens()
    assert said.slots == b"", "its readers are told that nobody listens"


def test_frames_of_a_reader_that_does_not_know_the_newest_slots_do_not_count() -> None:
    watching = live()
    watching.subscribe("two", "bob", None)
    assert asked(watching) == []
    list(watching.take(frame(10, 10, version=2)))
    assert asked(watching) == [Ask("bob", None, 10, is_ahead=False)]
    assert list(watching.take(frame(10, 12, change(12)))) == [], "it may lack changes of bob"
    told = news_of(watching.take(frame(10, 12, change(12), version=2)))
    assert list(told) == [(["one"], "change", 12)]


def test_a_reader_that_does_not_know_the_proxy_is_told_at_once() -> None:
    watching = live()
    watching.listens()
    assert not watching.has_to_say()
    list(watching.take(ChangeFrame(0, 10, 10, {}, [])))
    assert watching.has_to_say()


def test_what_is_kept_for_an_answer_is_bounded() -> None:
    """Then the answer must reach further."""
    watching = live()
    watching.subscribe("two", "ann", 4)
    asks = asked(watching)
    for sequence in range(11, 11 + RECENT_MAX + 1):
        list(watching.take(frame(sequence - 1, sequence, change(sequence))))
    found = AccountChanges("USD", 0, 5, 0, 4, [])
    told = list(news_of(watching.answered(0, asks, ChangesAnswer(0, 10, 1, [found]))))
    assert told == [(["two"], "stands", 10)]
    (ask,) = asked(watching)
    assert (ask.after_sequence, ask.min_sequence) == (10, 11 + RECENT_MAX)


@pytest.mark.parametrize("answered", [True, False])
def test_what_nobody_listens_to_any_more_leaves_nothing(answered: bool) -> None:  # noqa: FBT001  # drawn
    watching = watched()
    watching.subscribe("one", "ann", None)
    list(watching.take(frame(10, 10)))
    asks = asked(watching)
    if answered:
        watching.answered(0, asks, stood(10))
    watching.unsubscribe("one", "ann")
    watching.unsubscribe("one", "ann")
    assert watching.partitions == []
    assert watching.answered(0, asks, stood(10)) == []
    assert list(watching.take(frame(10, 11, change(11)))) == []
