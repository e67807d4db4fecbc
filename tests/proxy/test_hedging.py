"""Hedges: for what was overtaken; saved up by questions, for a burst, and a small share of them."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.queries import (
    AccountQuery,
    ChangesQuery,
    CreditStepsQuery,
    EntriesQuery,
    Query,
    TransferQuery,
    UnfinishedQuery,
)
from proxy.core.hedging import (
    HEDGES_MAX,
    QUESTIONS_PER_HEDGE,
    SOON_S_MAX,
    SOON_S_MIN,
    Awaited,
    Hedges,
    awaited,
)


def check(*steps: tuple[int, int, int]) -> None:
    """Steps: so many questions are asked, so many hedges wanted, so many are there."""
    hedges, newest = Hedges(), 0
    for questions, wanted, there in steps:
        for _ in range(questions):
            newest = hedges.note_question()
        assert sum(hedges.take(newest) for _ in range(wanted)) == there


def test_all_that_a_dead_reader_had_is_asked_once_more() -> None:
    check((0, HEDGES_MAX, HEDGES_MAX))


def test_after_a_burst_questions_save_up_for_the_next() -> None:
    check(
        (0, HEDGES_MAX + 1, HEDGES_MAX),
        (QUESTIONS_PER_HEDGE - 1, 1, 0),
        (1, 2, 1),
        (HEDGES_MAX * QUESTIONS_PER_HEDGE, HEDGES_MAX, HEDGES_MAX),
    )


def test_hedges_that_were_needed_are_there_again() -> None:
    """As many as are out for a reader that answers nothing may be wanted again and again."""
    hedges = Hedges()
    newest = hedges.note_question()
    for _ in range(3):
        assert all(hedges.take(newest) for _ in range(HEDGES_MAX))
        assert not hedges.take(newest)
        for _ in range(HEDGES_MAX + 1):
            hedges.give_back()


def test_no_more_is_saved_up_than_for_one_burst() -> None:
    check((100 * HEDGES_MAX * QUESTIONS_PER_HEDGE, 2 * HEDGES_MAX, HEDGES_MAX))


@pytest.mark.parametrize(
    ("slow_s", "slow_of_100", "soon_s"),
    [
        (0.1, 2, SOON_S_MIN),  # few answers are late: what is late may be lost
        (0.1, 30, 0.1),  # many are: to ask each once more would leave nothing for a death
        (3.0, 30, SOON_S_MAX),
    ],
)
def test_a_question_is_asked_once_more_when_nearly_all_others_are_answered(
    slow_s: float, slow_of_100: int, soon_s: float
) -> None:
    hedges = Hedges()
    for number in range(10_000):  # 37 is prime to 100: so many of each hundred, spread over it
        hedges.note_time(slow_s if number * 37 % 100 < slow_of_100 else 0.002)
    assert hedges.soon_s == pytest.approx(soon_s, rel=0.1)
    for _ in range(10_000):
        hedges.note_time(0.002)
    assert hedges.soon_s == SOON_S_MIN


@given(st.lists(st.booleans() | st.integers(2, 2 * HEDGES_MAX * QUESTIONS_PER_HEDGE)))
def test_in_no_stretch_are_there_more_hedges_than_a_burst_and_a_share_of_the_questions(
    steps: list[bool | int],
) -> None:
    """A hedge is wanted (True), or so many questions are asked. None is refused without need."""
    hedges, newest, told = Hedges(), 0, list[tuple[int, int]]()
    for step in steps:
        if step is True:
            told.append((0, hedges.take(newest)))
        else:
            for _ in range(step):
                newest = hedges.note_question()
            told.append((step, 0))
    owed = [taken * QUESTIONS_PER_HEDGE - asked for asked, taken in told]
    # The most that any stretch up to each step took above its share, in parts of a hedge.
    excess = list(accumulate(owed, lambda most, each: max(most, 0) + each, initial=0))
    most = HEDGES_MAX * QUESTIONS_PER_HEDGE
    assert max(excess) <= most
    for before, step, (_, taken) in zip(excess, steps, told, strict=False):
        if step is True and not taken:
            assert max(before, 0) + QUESTIONS_PER_HEDGE > most


@pytest.mark.parametrize(
    ("answered", "hedged"),
    [
        ([], [5]),
        ([1, 2], [5]),
        ([3], [1, 2, 5]),
        ([4, 2], [1, 3, 5]),
        ([5], [1, 2, 3, 4]),
    ],
)
def test_who_was_overtaken_is_asked_once_more_and_who_has_nobody_behind(
    answered: list[int], hedged: list[int]
) -> None:
    """Of five, by which of them are answered."""
    hedges = Hedges()
    numbers = [hedges.note_question() for _ in range(5)]
    for number in answered:
        hedges.note_answer(number)
    assert [each for each in numbers if each not in answered and hedges.take(each)] == hedged


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (AccountQuery("a"), Awaited.NOTHING),
        (AccountQuery("a", at_ms=1), Awaited.PAST),
        (AccountQuery("a", at_sequence=1), Awaited.PAST),
        (AccountQuery("a", min_sequence=1), Awaited.SEQUENCE),
        (EntriesQuery("a", limit=1), Awaited.NOTHING),
        (EntriesQuery("a", limit=1, min_sequence=1), Awaited.SEQUENCE),
        (TransferQuery("a", "t"), Awaited.NOTHING),
        (TransferQuery("a", "t", min_sequence=1), Awaited.SEQUENCE),
        (TransferQuery("a", "t", min_sequence=1, wait_ms=1), Awaited.OUTCOME),
        (CreditStepsQuery("b", "a", "t"), Awaited.NOTHING),
        (UnfinishedQuery(limit=1), Awaited.NOTHING),
        (ChangesQuery([], limit=1), Awaited.NOTHING),
        (ChangesQuery([], limit=1, min_sequence=1), Awaited.SEQUENCE),
    ],
)
def test_what_a_query_awaits(query: Query, expected: Awaited) -> None:
    assert awaited(query) is expected
