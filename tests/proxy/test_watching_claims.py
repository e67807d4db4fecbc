"""Who claims to know what is not there yet is waited for, and refused unless it comes."""

from __future__ import annotations

import pytest

from contracts.queries import AccountChanges, ChangesAnswer, Missing
from proxy.core.watch import Ask, Told
from proxy.core.watching import CLAIM_BEATS, Watching
from tests.proxy.test_watching import asked
from tests.proxy.watched import change, frame, live, news_of, stood, watched


def beats(watching: Watching[str], count: int) -> list[tuple[list[str], str, int]]:
    """What is told at so many heartbeats. A reader that is at 10 answers each."""
    told: list[Told[str]] = []
    for _ in range(count):
        assert list(watching.take(frame(10, 10, version=9))) == []
        told += watching.beat()
    return list(news_of(told))


def test_who_claims_to_know_the_future_is_refused_unless_it_comes() -> None:
    watching = live()
    watching.listens()
    watching.subscribe("two", "ann", 99)
    assert watching.has_to_say(), "readers are asked at once how far they are"
    assert asked(watching) == []
    assert beats(watching, CLAIM_BEATS - 1) == []
    assert beats(watching, 1) == [(["two"], "refused", Missing.SEQUENCE)]
    told = list(watching.take(frame(10, 11, change(11), version=9)))
    assert list(news_of(told)) == [(["one"], "change", 11)], "the others watch on"


def test_nobody_is_refused_while_no_reader_says_how_far_it_is() -> None:
    watching = live()
    watching.subscribe("two", "ann", 99)
    assert [told for _ in range(9) for told in watching.beat()] == []


def test_nobody_is_refused_before_frames_cover_the_account() -> None:
    watching = live()
    watching.subscribe("two", "bob", 99)
    for _ in range(2 * CLAIM_BEATS):
        list(watching.take(frame(10, 10)))
        assert watching.beat() == []
    assert beats(watching, CLAIM_BEATS) == [(["two"], "refused", Missing.SEQUENCE)]


def test_nobody_is_refused_while_only_readers_that_do_not_know_its_slot_answer() -> None:
    watching = live()
    watching.subscribe("two", "bob", 99)
    list(watching.take(frame(10, 10, version=2)))
    assert watching.beat() == []
    for _ in range(2 * CLAIM_BEATS):
        list(watching.take(frame(10, 10)))
        assert watching.beat() == []


def test_who_claims_again_lets_nobody_wait_longer() -> None:
    watching = live()
    for listener in ("first", "second"):
        watching.subscribe(listener, "ann", 99)
    assert beats(watching, 1) == []
    watching.subscribe("first", "ann", 99)
    assert beats(watching, CLAIM_BEATS - 1) == [(["second"], "refused", Missing.SEQUENCE)]
    assert beats(watching, 1) == [(["first"], "refused", Missing.SEQUENCE)]


def test_each_may_wait_for_what_it_claims_to_know_as_long() -> None:
    """Nobody is refused because another one was, nor for what it claimed before."""
    watching = live()
    for listener in ("far", "again"):
        watching.subscribe(listener, "ann", 99)
    assert beats(watching, CLAIM_BEATS - 1) == []
    watching.unsubscribe("again", "ann")
    for listener in ("near", "again"):
        watching.subscribe(listener, "ann", 11)
    assert beats(watching, 1) == [(["far"], "refused", Missing.SEQUENCE)]
    list(watching.take(frame(10, 11, version=9)))
    asks = asked(watching)
    assert asks == [Ask("ann", 11, 11)]
    told = list(news_of(watching.answered(0, asks, stood(11))))
    assert told == [(["near", "again"], "stands", 11)]


@pytest.mark.parametrize("place", [None, 10, 4, 11])
def test_nobody_waits_for_who_is_ahead_on_the_same_account(place: int | None) -> None:
    """Whether it comes first, or before or after frames cover the account."""
    for turn in range(3):
        watching = watched()
        if turn == 0:
            watching.subscribe("other", "ann", place)
        watching.subscribe("far", "ann", 2**53)
        if turn == 1:
            watching.subscribe("other", "ann", place)
        list(watching.take(frame(10, 10)))
        if turn == 2:
            assert asked(watching) == []
            watching.subscribe("other", "ann", place)
        tip = 10
        if place == 11:
            assert asked(watching) == []
            list(watching.take(frame(10, 11)))
            tip = 11
        asks = asked(watching)
        assert asks == [Ask("ann", place, 11 if place == 11 else 10)]
        found = AccountChanges("USD", 0, 5, 0, place or tip, [])
        told = list(news_of(watching.answered(0, asks, ChangesAnswer(0, tip, 1, [found]))))
        assert told == [(["other"], "stands", tip)]
        assert asked(watching) == []


def test_who_is_a_little_ahead_is_asked_for_when_frames_get_there() -> None:
    """Not before, and of an account the nearest first."""
    watching = watched()
    for place in (13, 12, 2**53):
        watching.subscribe(f"at {place}", "ann", place)
    watching.subscribe("far", "bob", 2**53)
    list(watching.take(frame(10, 10, version=2)))
    assert asked(watching) == []
    list(watching.take(frame(10, 11, version=2)))
    assert watching.to_be_asked() == []
    for place in (12, 13):
        list(watching.take(frame(place - 1, place, version=2)))
        asks = asked(watching)
        assert asks == [Ask("ann", place, place)]
        told = list(news_of(watching.answered(0, asks, stood(place))))
        assert told == [([f"at {place}"], "stands", place)]
        assert asked(watching) == []


def test_who_is_ahead_of_the_readers_that_know_its_slot_is_asked_for_when_they_get_there() -> None:
    """Those that don't know it had got there before."""
    watching = live()
    watching.subscribe("two", "bob", 13)
    list(watching.take(frame(10, 10, version=2)))
    list(watching.take(frame(10, 14)))
    assert asked(watching) == []
    list(watching.take(frame(10, 12, version=2)))
    assert asked(watching) == []
    list(watching.take(frame(12, 13, version=2)))
    assert asked(watching) == [Ask("bob", 13, 13)]
