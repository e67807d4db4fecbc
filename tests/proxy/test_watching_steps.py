"""Watching, one thing after the other: what is asked, told and refused then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from contracts.changes import Change, ChangeFrame, Direction
from contracts.partitioning import SlotMap
from contracts.queries import AccountChanges, ChangesAnswer, Missing
from proxy.core.watch import RECENT_MAX, Ask, Changed, Refused, Standing, Told
from proxy.core.watching import CLAIM_BEATS, Watching
from tests.proxy.test_watching import ACCOUNTS, asked


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
    assert asks == [Ask("ann", None, 10)]
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
