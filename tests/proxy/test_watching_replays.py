"""Who comes back together: each is told what it missed, or that it was too much, for itself."""

from __future__ import annotations

from collections.abc import Sequence

from contracts.changes import ChangeFrame
from contracts.partitioning import SlotMap
from contracts.queries import AccountChanges, ChangesAnswer
from proxy.core.watch import Ask, Changed, Standing
from proxy.core.watching import Watching
from tests.proxy.test_watching import REPLAY_MAX, Ledger, asked
from tests.proxy.watched import change, frame, live, news_of, stood

CHANGES = 40


def come_back(places: Sequence[int]) -> tuple[int, dict[int, bool], dict[int, list[int]]]:
    """Who comes back to an account that has changed at each sequence up to CHANGES.

    Give how many questions that takes, and by place whether it was told that changes were left out,
    and which changes.
    """
    ledger, watching = Ledger(), Watching[int]("p", SlotMap.even(1))
    for _ in range(CHANGES):
        ledger.move("ann")
    for place in places:
        watching.subscribe(place, "ann", place)
    list(watching.take(ChangeFrame(0, CHANGES, CHANGES, {"p": 1}, [])))
    questions, left_out = 0, dict.fromkeys(places, False)
    replayed: dict[int, list[int]] = {place: [] for place in places}
    while asks := asked(watching):
        questions += 1
        for listeners, news in watching.answered(0, asks, ledger.answer(asks, CHANGES)):
            for place in listeners:
                if isinstance(news, Changed):
                    replayed[place].append(news.change.sequence)
                elif isinstance(news, Standing):
                    left_out[place] |= news.is_conflated
    return questions, left_out, replayed


def test_each_is_told_what_it_missed_whatever_others_missed() -> None:
    """And it takes few questions to find for whom it is too much."""
    questions, left_out, replayed = come_back(range(CHANGES))
    fit = CHANGES - REPLAY_MAX
    assert left_out == {place: place < fit for place in range(CHANGES)}
    assert replayed == {
        place: list(range(place + 1, CHANGES + 1)) if place >= fit else []
        for place in range(CHANGES)
    }
    assert questions < CHANGES / 4


def test_those_who_missed_little_are_told_by_one_answer() -> None:
    questions, left_out, _ = come_back(range(CHANGES - REPLAY_MAX, CHANGES))
    assert questions == 1
    assert not any(left_out.values())


def test_that_somebody_missed_too_much_once_costs_no_question_later() -> None:
    """Those who come back then are told by one answer again."""
    watching = live()
    for place, complete_after in ((0, 10), (4, 4)):
        watching.subscribe("two", "ann", place)
        answer = ChangesAnswer(0, 10, 1, [AccountChanges("USD", 0, 5, 0, complete_after, [])])
        list(watching.answered(0, asked(watching), answer))
    for place in (5, 8):
        watching.subscribe(f"from {place}", "ann", place)
    assert asked(watching) == [Ask("ann", 5, 10)]


def test_a_gap_leaves_nothing_out_because_of_somebody_who_comes_back_from_far() -> None:
    watching = live()
    watching.subscribe("far", "ann", 0)
    list(watching.take(frame(20, 22)))
    asks = asked(watching)
    assert asks == [Ask("ann", 0, 22)]
    too_much = AccountChanges("USD", 0, 5, 0, 22, [])
    told = watching.answered(0, asks, ChangesAnswer(0, 22, 1, [too_much]))
    assert list(news_of(told)) == [(["far"], "conflated", 22)]
    asks = asked(watching)
    assert asks == [Ask("ann", 10, 22)]
    found = AccountChanges("USD", 0, 5, 0, 10, [change(15)])
    told = watching.answered(0, asks, ChangesAnswer(0, 22, 1, [found]))
    assert list(news_of(told)) == [(["one"], "change", 15)]


def test_who_comes_from_far_after_the_question_is_asked_for_anew() -> None:
    """The answer holds all that was asked for, and nothing of what this one missed."""
    watching = live()
    watching.subscribe("near", "ann", 10)
    asks = asked(watching)
    watching.subscribe("far", "ann", 4)
    told = watching.answered(
        0, asks, ChangesAnswer(0, 10, 1, [AccountChanges("USD", 0, 5, 0, 10, [])])
    )
    assert list(news_of(told)) == [(["near"], "stands", 10)]
    assert asked(watching) == [Ask("ann", 4, 10)]


def test_nobody_waits_longer_because_another_one_comes_back() -> None:
    """What frames brought since the first one came counts for it."""
    watching = live()
    watching.subscribe("two", "ann", 4)
    asks = asked(watching)
    list(watching.take(frame(10, 12, change(12))))
    watching.subscribe("three", "ann", 6)
    found = AccountChanges("USD", 0, 5, 0, 4, [change(5), change(8)])
    told = list(news_of(watching.answered(0, asks, ChangesAnswer(0, 10, 1, [found]))))
    assert told == [
        (["two"], "change", 5),
        (["two"], "change", 8),
        (["two"], "stands", 10),
        (["two"], "change", 12),
        (["three"], "change", 8),
        (["three"], "stands", 10),
        (["three"], "change", 12),
    ]


def test_the_answer_to_who_has_left_hides_nothing_from_who_comes() -> None:
    """Frames had gone on when it came; the slot was listened to all the time."""
    watching = live()
    watching.subscribe("neighbour", "xef", None)
    watching.answered(0, asked(watching), stood(10))
    watching.subscribe("early", "ann", 10)
    asks = asked(watching)
    for listener in ("one", "early"):
        watching.unsubscribe(listener, "ann")
    list(watching.take(frame(10, 12, change(12))))
    watching.subscribe("late", "ann", None)
    told = list(news_of(watching.answered(0, asks, stood(10))))
    assert told == [(["late"], "stands", 10)]
    asks = asked(watching)
    assert asks == [Ask("ann", 10, 12)]
    found = AccountChanges("USD", 0, 5, 0, 10, [change(12)])
    told = list(news_of(watching.answered(0, asks, ChangesAnswer(0, 12, 1, [found]))))
    assert told == [(["late"], "change", 12)]
