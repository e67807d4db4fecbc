"""Watching, one thing after the other: what is asked and told then."""

from __future__ import annotations

import pytest

from contracts.changes import ChangeFrame
from contracts.queries import AccountChanges, ChangesAnswer
from proxy.core.watch import RECENT_MAX, Ask
from tests.proxy.test_watching import ACCOUNTS, asked
from tests.proxy.watched import change, frame, live, news_of, stood, watched


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
    asks = asked(watching)
    assert asks == [Ask("ann", 10, 22)]
    assert list(watching.take(frame(22, 23, change(23)))) == []
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
    assert asked(watching) == [Ask("ann", 10, 20)]


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
    assert asks == [Ask("ann", 4, 10)]
    told = list(news_of(watching.take(frame(10, 12, change(12)))))
    assert told == [(["one"], "change", 12)], "nobody waits for another's past"
    found = AccountChanges("USD", 0, 5, 0, 4, [change(7)])
    told = list(news_of(watching.answered(0, asks, ChangesAnswer(0, 10, 1, [found]))))
    assert told == [
        (["two"], "change", 7),
        (["two"], "stands", 10),
        (["two"], "change", 12),
    ]


def test_a_newcomer_costs_nobody_a_question_where_the_first_reader_to_hear_of_it_lags() -> None:
    """What others have seen it gets by its own question, also in a slot that is known already."""
    watching = live()
    list(watching.take(frame(10, 12, change(12))))
    watching.subscribe("two", "bob", None)
    list(watching.take(frame(10, 10, version=2)))
    watching.subscribe("three", "xef", None)
    assert asked(watching) == [Ask("bob", None, 12), Ask("xef", None, 12)]
    list(watching.take(frame(12, 12, version=2)))
    assert asked(watching) == []
    told = list(news_of(watching.take(frame(12, 13, change(13), version=2))))
    assert told == [(["one"], "change", 13)]


def test_a_newcomer_costs_nobody_a_question_where_changes_come_before_all_have_heard_of_it() -> (
    None
):
    """What one reader pushed before it heard of it counts for all others."""
    watching = live()
    watching.subscribe("two", "bob", None)
    list(watching.take(frame(10, 10, version=2)))
    told = list(news_of(watching.take(frame(10, 11, change(11)))))
    assert told == [(["one"], "change", 11)]
    list(watching.take(frame(11, 11, version=2)))
    assert asked(watching) == [Ask("bob", None, 11)]


def test_a_query_holds_so_much_and_no_more_and_nobody_is_forgotten() -> None:
    watching = watched()
    for account_id in ACCOUNTS:
        watching.subscribe("one", account_id, None)
    list(watching.take(frame(10, 10, version=len(ACCOUNTS))))
    asks = [watching.asks(0, 3) for _ in range(3)]
    assert [[ask.account_id for ask in each] for each in asks] == [
        ["ann", "bob", "cho"],
        ["dan"],
        [],
    ]
    watching.answered(0, asks[0], None)
    again = watching.asks(0, 9)
    assert [ask.account_id for ask in again] == ["ann", "bob", "cho"], "and dan is asked already"


def test_frames_of_a_reader_that_does_not_know_the_newest_slots_say_nothing_about_them() -> None:
    watching = live()
    watching.subscribe("two", "bob", None)
    list(watching.take(frame(10, 10, version=2)))
    told = list(news_of(watching.answered(0, asked(watching), stood(10))))
    assert told == [(["two"], "stands", 10)]
    told = list(news_of(watching.take(frame(10, 12, change(12)))))
    assert told == [(["one"], "change", 12)], "it may lack changes of bob"
    told = list(news_of(watching.take(frame(10, 12, change(11, "bob"), change(12), version=2))))
    assert told == [(["two"], "change", 11)]


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
