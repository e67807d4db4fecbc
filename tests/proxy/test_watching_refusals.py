"""Who watches an account that there is not is refused, and nobody else."""

from __future__ import annotations

import pytest

from contracts.queries import AccountChanges, ChangesAnswer, Missing
from proxy.core.watch import Ask
from tests.proxy.test_watching import asked
from tests.proxy.watched import change, frame, news_of, stood, watched


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


def test_a_reader_that_lags_refuses_nobody_when_another_one_has_been_heard() -> None:
    """It may not know yet of an account whose opening was confirmed."""
    watching = watched()
    watching.subscribe("opener", "ann", None)
    list(watching.take(frame(10, 10)))
    asks = asked(watching)
    list(watching.take(frame(12, 12)))
    assert watching.answered(0, asks, ChangesAnswer(0, 10, 1, [None])) == []
    asks = asked(watching)
    assert asks == [Ask("ann", None, 12)]
    told = list(news_of(watching.answered(0, asks, stood(12))))
    assert told == [(["opener"], "stands", 12)]


def test_a_reader_that_has_not_caught_up_refuses_nobody_and_tells_of_the_others() -> None:
    watching = watched()
    for account_id in ("opened", "ann"):
        watching.subscribe("one", account_id, None)
    list(watching.take(frame(10, 10, version=2)))
    asks = asked(watching)
    known = stood(10).accounts
    told = watching.answered(0, asks, ChangesAnswer(0, 10, 1, [None, *known], is_up_to_date=False))
    assert list(news_of(told)) == [(["one"], "stands", 10)]
    asks = asked(watching)
    assert asks == [Ask("opened", None, 10)]
    told = watching.answered(0, asks, ChangesAnswer(0, 10, 1, [None]))
    assert list(news_of(told)) == [(["one"], "refused", Missing.ACCOUNT)]


def test_who_came_when_frames_were_further_is_asked_for_from_there() -> None:
    """A reader that lags would not know yet of what was opened, and confirmed, in between."""
    watching = watched()
    watching.subscribe("early", "ann", None)
    list(watching.take(frame(10, 10)))
    asks = asked(watching)
    list(watching.take(frame(10, 12)))
    watching.subscribe("opener", "ann", None)
    told = watching.answered(0, asks, ChangesAnswer(0, 10, 1, [None]))
    assert list(news_of(told)) == [(["early"], "refused", Missing.ACCOUNT)]
    assert asked(watching) == [Ask("ann", None, 12)]


def test_what_is_known_of_an_account_is_asked_of_nobody_who_knows_less() -> None:
    """An answer was of a reader ahead of all frames: another one may not know the account yet."""
    watching = watched()
    watching.subscribe("one", "ann", None)
    list(watching.take(frame(10, 10)))
    told = watching.answered(0, asked(watching), stood(20))
    assert list(news_of(told)) == [(["one"], "stands", 20)]
    assert list(watching.take(frame(10, 15, change(15)))) == []
    assert list(news_of(watching.subscribe("two", "ann", None))) == [(["two"], "stands", 20)]
    watching.subscribe("three", "ann", 0)
    assert asked(watching) == [Ask("ann", 0, 20)]


@pytest.mark.parametrize("is_asked", [True, False])
def test_who_knows_of_an_account_that_was_opened_since_is_not_refused(
    is_asked: bool,  # noqa: FBT001  # drawn
) -> None:
    """By an answer from before it."""
    watching = watched()
    watching.subscribe("early", "ann", None)
    list(watching.take(frame(10, 10)))
    asks = asked(watching) if is_asked else []
    watching.subscribe("opener", "ann", 11)
    asks += asked(watching)
    told = watching.answered(0, asks, ChangesAnswer(0, 10, 1, [None]))
    assert list(news_of(told)) == [(["early"], "refused", Missing.ACCOUNT)]
    list(watching.take(frame(10, 11)))
    asks = asked(watching)
    assert asks == [Ask("ann", 11, 11)]
    told = watching.answered(0, asks, stood(11))
    assert list(news_of(told)) == [(["opener"], "stands", 11)]


@pytest.mark.parametrize("place", [None, 0])
def test_who_came_after_the_question_is_not_refused_by_its_answer(place: int | None) -> None:
    """It may have seen the account opened in between."""
    watching = watched()
    watching.subscribe("early", "ann", None)
    list(watching.take(frame(10, 10)))
    asks = asked(watching)
    watching.subscribe("opener", "ann", place)
    told = watching.answered(0, asks, ChangesAnswer(0, 10, 1, [None]))
    assert list(news_of(told)) == [(["early"], "refused", Missing.ACCOUNT)]
    asks = asked(watching)
    assert asks == [Ask("ann", place, 10)]
    opened = ChangesAnswer(0, 11, 1, [AccountChanges("USD", 0, 0, 0, 0, [])])
    told = watching.answered(0, asks, opened)
    assert list(news_of(told)) == [(["opener"], "stands", 11)]


def test_who_subscribes_again_after_the_question_is_not_refused_by_its_answer() -> None:
    watching = watched()
    watching.subscribe("one", "ann", None)
    list(watching.take(frame(10, 10)))
    asks = asked(watching)
    watching.subscribe("one", "ann", None)
    assert watching.answered(0, asks, ChangesAnswer(0, 10, 1, [None])) == []
    told = watching.answered(0, asked(watching), ChangesAnswer(0, 11, 1, [None]))
    assert list(news_of(told)) == [(["one"], "refused", Missing.ACCOUNT)]


@pytest.mark.parametrize("is_asked", [True, False])
def test_who_comes_when_all_have_left_is_not_refused_by_what_they_asked(
    is_asked: bool,  # noqa: FBT001  # drawn
) -> None:
    watching = watched()
    watching.subscribe("early", "ann", None)
    list(watching.take(frame(10, 10)))
    asks = asked(watching)
    watching.unsubscribe("early", "ann")
    watching.subscribe("opener", "ann", None)
    list(watching.take(frame(10, 10, version=2)))
    again = asked(watching) if is_asked else []
    assert watching.answered(0, asks, ChangesAnswer(0, 10, 1, [None])) == []
    again += asked(watching)
    assert again == [Ask("ann", None, 10)], "it is asked once"
    told = watching.answered(0, again, stood(11))
    assert list(news_of(told)) == [(["opener"], "stands", 11)]
