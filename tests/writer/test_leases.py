"""Leases: who leads which party, as every writer works it out for itself from what it hears."""

from collections.abc import Iterable
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from writer.core.leases import LEASE_MS, LEASE_RENEWED_MS, NOBODY, Leases

PARTIES = range(4)
COORDINATOR = 1024
ALL = [*PARTIES, COORDINATOR]

Renewals = Iterable[tuple[int, str]]
"""When which writer's are heard."""


def listen(leases: Leases, renewals: Renewals, until_ms: int) -> set[str]:
    """Hear what comes before a time, and look whenever a lease ends; tell whose were over."""
    over = set[str]()
    for at_ms, writer_id in sorted(renewals):
        if at_ms < until_ms:
            over |= pass_time(leases, at_ms)
            leases.renewed(writer_id, ALL, (), at_ms)
    return over | pass_time(leases, until_ms)


def pass_time(leases: Leases, until_ms: int) -> set[str]:
    """Look once for each lease that ends: asked when to look next, it names a later time."""
    over = set[str]()
    while (end_ms := leases.next_end_ms) is not None and end_ms < until_ms:
        living = set(leases.living)
        leases.expire(end_ms)
        over |= living - set(leases.living)
        assert leases.next_end_ms is None or leases.next_end_ms > end_ms
    return over


def every(interval_ms: int, from_ms: int, until_ms: int) -> Iterable[int]:
    """Times of renewals that come regularly."""
    return range(from_ms, until_ms, interval_ms)


def heard(writer_id: str, *times_ms: Iterable[int]) -> list[tuple[int, str]]:
    return [(at_ms, writer_id) for times in times_ms for at_ms in times]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_everybody_deals_alike_whatever_was_heard_first(order: str) -> None:
    views = []
    for own_id in "ab":
        leases = Leases(own_id)
        for writer_id in 2 * order:
            leases.renewed(writer_id, ALL, (), 0)
        views.append(leases.to_take())
    assert sorted(views[0] + views[1]) == sorted(ALL)


def test_a_writer_that_is_not_heard_any_more_is_dead_after_its_lease() -> None:
    leases = Leases("b")
    leases.renewed("b", ALL, (), 0)
    leases.renewed("a", ALL, (), 0)
    leases.led(0, "a", 1)
    listen(leases, heard("b", every(LEASE_RENEWED_MS, 0, LEASE_MS)), LEASE_MS)
    assert 0 not in leases.to_take()
    assert leases.next_end_ms == LEASE_MS
    leases.expire(LEASE_MS)
    assert leases.to_take() == ALL
    assert leases.revision(0) == 1


def test_who_was_deaf_deals_nothing_to_others_and_takes_nothing_until_they_had_time() -> None:
    leases = Leases("b")
    leases.renewed("a", ALL, (), 0)
    leases.led(0, "a", 1)
    for party in (1, 2, 3, COORDINATOR):
        leases.led(party, "b", 1)
    deaf_until = 10 * LEASE_MS
    leases.expire(deaf_until)
    assert leases.next_end_ms is None
    leases.renewed("b", ALL, (), deaf_until)
    assert leases.to_hand_over() == {}, "a may be dead"
    assert leases.to_take() == [], "a may live"
    over_ms = deaf_until + LEASE_MS
    listen(leases, heard("b", every(LEASE_RENEWED_MS, deaf_until, over_ms)), over_ms)
    assert leases.to_take() == []
    leases.expire(over_ms)
    assert leases.to_take() == [0]


def test_who_does_not_hear_itself_any_more_takes_nobody_for_dead() -> None:
    leases = Leases("b")
    leases.renewed("b", ALL, (), 0)
    leases.renewed("a", ALL, (), 0)
    leases.led(0, "a", 1)
    leases.expire(LEASE_MS)
    assert "a" in leases.living
    assert leases.to_take() == []


@pytest.mark.parametrize(
    ("own", "other", "over_ms"),
    [
        ([200, 400, 600], [], 700),
        ([100, 300, 500, 650], [], 700),
        ([400], [], 700),
        ([401], [], 901),
        ([490], [], 990),
        ([200, 690], [], 990),
        ([460, 660], [300], 1_160),
        ([501], [], 1201),
        ([590], [], 1290),
        ([590], [900], 1600),
        ([5_000], [], 5_700),
    ],
    ids=[
        "heard in time: the other is dead after its lease",
        "at any other time: the same",
        "a moment before it might be deaf: the same",
        "one is late by 201 ms: so is the other's end",
        "one is late by 290 ms",
        "the same, when the other's lease was nearly over",
        "one is late and the other was heard meanwhile: no more than a whole lease",
        "late by more than may be chance: a whole lease",
        "two are missing: a whole lease",
        "the other is heard again in it",
        "none for longer than a lease",
    ],
)
def test_as_long_as_a_writer_does_not_hear_itself_others_have_more_time(
    own: list[int], other: list[int], over_ms: int
) -> None:
    leases = Leases("b")
    regular = every(LEASE_RENEWED_MS, own[-1], over_ms)
    listen(leases, heard("b", [0], own, regular) + heard("a", [0], other), over_ms)
    assert "a" in leases.living
    leases.expire(over_ms)
    assert "a" not in leases.living


@given(st.lists(st.integers(1, 2 * LEASE_RENEWED_MS), min_size=8), st.integers(0, 199))
def test_a_dead_writer_is_judged_after_its_lease_however_unevenly_others_are_heard(
    intervals: list[int], died_ms: int
) -> None:
    """Not even one of two renewals of one's own needs to be heard."""
    leases = Leases("b")
    own = [*accumulate(intervals, initial=0)]
    own += every(LEASE_RENEWED_MS, own[-1], died_ms + LEASE_MS)
    over_ms = died_ms + LEASE_MS
    listen(leases, heard("b", own) + heard("a", [died_ms]), over_ms)
    assert "a" in leases.living
    leases.expire(over_ms)
    assert "a" not in leases.living


@given(st.integers(0, LEASE_MS), st.integers(401, LEASE_MS - LEASE_RENEWED_MS))
def test_one_renewal_of_its_own_that_is_lost_delays_a_judgement_by_less_than_two(
    last_ms: int, gap_ms: int
) -> None:
    """The other writer died at 0, and the last that is heard in time comes at last_ms."""
    leases = Leases("b")
    over_ms = LEASE_MS + 2 * LEASE_RENEWED_MS
    own = [*every(-LEASE_RENEWED_MS, last_ms, -LEASE_MS)]
    own += every(LEASE_RENEWED_MS, last_ms + gap_ms, over_ms)
    listen(leases, heard("b", own) + heard("a", [0]), over_ms)
    assert "a" not in leases.living


@given(st.lists(st.integers(1, 1_000)))
@example(20 * [550])
@example(10 * [550, 200])
def test_who_always_hears_itself_late_takes_a_dead_writers_place_nevertheless(
    intervals: list[int],
) -> None:
    """The other writer died at 0; nothing is asked of what is heard but that it goes on."""
    leases = Leases("b")
    own = [*accumulate([*intervals, *(8 * [550, 200])], initial=0)]
    listen(leases, heard("b", own) + heard("a", [0]), own[-1])
    leases.expire(own[-1])
    assert "a" not in leases.living


intervals = st.lists(st.integers(LEASE_RENEWED_MS, LEASE_RENEWED_MS + 30), min_size=30, max_size=30)
REGULAR = 30 * [LEASE_RENEWED_MS]


@given(st.integers(0, 3_000), st.integers(0, LEASE_RENEWED_MS), intervals, intervals)
@example(600, 100, REGULAR, REGULAR)
def test_while_nobody_can_be_heard_nobody_is_taken_for_dead(
    silent_ms: int, later_ms: int, of_a: list[int], of_b: list[int]
) -> None:
    """As while the bucket's servers choose a leader, and all try to renew their leases in time."""
    silence = range(1_000, 1_000 + silent_ms)
    tried = heard("a", accumulate(of_a, initial=0)) + heard("b", accumulate(of_b, initial=later_ms))
    renewals = [(at_ms, writer_id) for at_ms, writer_id in tried if at_ms not in silence]
    until_ms = len(REGULAR) * LEASE_RENEWED_MS
    assert "b" not in listen(Leases("a"), renewals, until_ms)
    assert "a" not in listen(Leases("b"), renewals, until_ms)


@given(
    st.integers(-LEASE_RENEWED_MS, 0),
    st.integers(LEASE_MS - LEASE_RENEWED_MS + 1, 3_000),
    st.integers(0, LEASE_MS - 1),
)
@example(-100, 600, 400)
def test_after_a_long_silence_others_may_be_heard_later_by_a_lease(
    last_ms: int, heard_again_ms: int, later_ms: int
) -> None:
    """As a writer whose connection went to the lost server and has to find another one."""
    until_ms = heard_again_ms + 2 * LEASE_MS
    renewals = heard("a", [last_ms], every(LEASE_RENEWED_MS, heard_again_ms + later_ms, until_ms))
    renewals += heard("b", [-LEASE_RENEWED_MS, 0])
    renewals += heard("b", every(LEASE_RENEWED_MS, heard_again_ms, until_ms))
    assert "a" not in listen(Leases("b"), renewals, until_ms)


def test_who_is_new_knows_the_living_once_all_that_it_found_are_heard_or_over() -> None:
    leases = Leases("b")
    assert not leases.knows_the_living, "nothing was heard yet"
    for writer_id in "acd":
        leases.renewed(writer_id, ALL, (), 0)
    leases.renewed("b", ALL, (), 0)
    assert not leases.knows_the_living, "they may have died long ago"
    leases.renewed("a", ALL, (), 1)
    leases.ended("c")
    assert not leases.knows_the_living
    regular = every(LEASE_RENEWED_MS, LEASE_RENEWED_MS, LEASE_MS)
    listen(leases, heard("a", regular) + heard("b", regular), LEASE_MS)
    leases.expire(LEASE_MS)
    assert leases.knows_the_living
    leases.renewed("e", ALL, (), LEASE_MS)
    assert leases.knows_the_living, "who comes later is known from its beginning"
    leases.read_anew()
    assert not leases.knows_the_living


def test_who_was_deaf_for_long_does_not_know_the_living_before_it_hears_them() -> None:
    leases = Leases("b")
    leases.renewed("a", ALL, (), -1)
    for at_ms in (0, 1, LEASE_MS):
        leases.renewed("b", ALL, (), at_ms)
        if at_ms == 1:
            leases.renewed("a", ALL, (), at_ms)
    leases.expire(LEASE_MS + 1)
    assert "a" in leases.living, "others take it for dead now"
    assert not leases.knows_the_living
    leases.renewed("a", ALL, (), LEASE_MS + 2)
    assert leases.knows_the_living


@pytest.mark.parametrize("is_alive", [True, False])
def test_who_was_deaf_hears_who_is_ready_before_it_leads_once_more(*, is_alive: bool) -> None:
    """As after its connection broke, and its reign with it: it would have to recover first."""
    leases = Leases("a")
    for writer_id in "ab":
        leases.renewed(writer_id, ALL, (), 0)
    leases.led(0, "a", 7)
    deaf_ms = LEASE_MS
    leases.read_anew()
    leases.led(0, "a", 7)
    leases.renewed("a", (), (), deaf_ms)
    assert leases.to_name_anew(0) == {}, "b may be ready"
    if is_alive:
        leases.renewed("b", ALL, (), deaf_ms + LEASE_RENEWED_MS)
        assert leases.to_name_anew(0) == {0: "b"}
    else:
        for at_ms in every(LEASE_RENEWED_MS, deaf_ms + LEASE_RENEWED_MS, deaf_ms + LEASE_MS):
            leases.renewed("a", (), (), at_ms)
            assert leases.to_name_anew(0) == {}
        leases.expire(deaf_ms + LEASE_MS)
        assert leases.to_name_anew(0) == {0: "a"}


def test_a_writer_that_stops_is_followed_at_once() -> None:
    leases = Leases("b")
    for writer_id in "ab":
        leases.renewed(writer_id, ALL, (), 0)
    leases.led(0, "a", 7)
    assert 0 not in leases.to_take()
    leases.led(0, NOBODY, 8)
    leases.ended("a")
    assert 0 in leases.to_take()


def test_who_joins_is_given_its_share_once_it_is_ready() -> None:
    leases = Leases("a")
    leases.renewed("a", ALL, (), 0)
    for party in ALL:
        leases.led(party, "a", 1)
    leases.renewed("b", [], (), 0)
    assert leases.to_hand_over() == {}
    leases.renewed("b", ALL, (), 1)
    assert leases.to_hand_over() == {0: "b", 1: "b"}


def test_a_leader_that_is_not_ready_for_the_moment_stays() -> None:
    leases = Leases("b")
    leases.renewed("a", [], (), 0)
    leases.renewed("b", ALL, (), 0)
    for party in (0, 1):
        leases.led(party, "a", 1)
    assert leases.to_take() == [2, 3, COORDINATOR]


def test_while_records_are_read_anew_who_leads_is_known_from_the_leases() -> None:
    leases = Leases("a")
    leases.renewed("a", [2, 3, COORDINATOR], [0], 0)
    leases.renewed("b", [2, 3, COORDINATOR], [1], 0)
    for party, writer_id in ((0, "a"), (1, "b"), (2, "x")):
        leases.led(party, writer_id, 9)
    leases.read_anew()
    assert leases.to_take() == []
    leases.renewed("a", [2, 3, COORDINATOR], [0], 0)
    leases.renewed("b", [2, 3, COORDINATOR], [1], 0)
    taken = leases.to_take()
    assert 0 in taken, "its record is gone: it is made again"
    assert 1 not in taken
    assert leases.revision(0) == 0


@pytest.mark.parametrize(("ready", "expected"), [([], "a"), (["b"], "b"), (["b", "c"], "c")])
def test_who_can_not_lead_is_followed_by_the_least_loaded_that_is_ready(
    ready: list[str], expected: str
) -> None:
    leases = Leases("a")
    for writer_id in "abc":
        leases.renewed(writer_id, [0] if writer_id in ready else [], (), 0)
    leases.led(1, "b", 1)
    assert leases.to_name_anew(0) == {}, "this writer is not named for it"
    leases.led(0, "a", 1)
    assert leases.to_name_anew(0) == {0: expected}


def test_a_promise_to_one_that_is_not_ready_any_more_is_void() -> None:
    leases = Leases("a")
    leases.renewed("a", [], ALL, 0)
    for party in ALL:
        leases.led(party, "a", 1)
    leases.renewed("b", ALL, (), 0)
    assert leases.to_hand_over() == {0: "b", 1: "b"}
    leases.renewed("b", [1], (), 1)
    assert leases.to_hand_over() == {1: "b"}
    assert leases.to_name_anew(0) == {0: "a"}


def test_who_says_that_it_leads_is_not_deposed_for_a_lost_record() -> None:
    leases = Leases("a")
    leases.renewed("a", ALL, (), 0)
    leases.renewed("b", [], ALL, 0)
    assert leases.to_take() == []


@pytest.mark.parametrize(
    ("ready", "leads", "is_led"),
    [([], [0], True), ([0], [], True), ([], [], False), ([1], [1], False)],
    ids=["it leads", "it was named a moment ago", "it has failed", "it does so with others"],
)
def test_a_party_is_led_if_who_is_named_says_so_or_can(
    ready: list[int],
    leads: list[int],
    is_led: bool,  # noqa: FBT001  # a column
) -> None:
    leases = Leases("a")
    leases.renewed("a", [], (), 0)
    leases.renewed("b", ready, leads, 0)
    leases.led(0, "b", 1)
    assert (0 in leases.led_parties) is is_led
    leases.ended("b")
    assert 0 not in leases.led_parties
