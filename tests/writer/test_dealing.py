"""Dealing: evenly to those who live, and moving as few as that takes."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from contracts.parties import parties
from writer.core.leases import deal

ALL = parties(4)

writers = st.sets(st.sampled_from("abcdefg"), min_size=1)
owners = st.dictionaries(st.sampled_from(ALL), st.sampled_from("abcdefgxyz"))


@given(writers, owners)
def test_parties_are_dealt_evenly_to_those_who_live(
    living: set[str], leaders: dict[int, str]
) -> None:
    dealt = deal(dict.fromkeys(living, ALL), leaders)
    assert sorted(dealt) == sorted(ALL)
    load = Counter(dict.fromkeys(living, 0))
    load.update(dealt.values())
    assert set(load) == living
    assert max(load.values()) - min(load.values()) <= 1


@given(writers, owners)
def test_nothing_moves_that_need_not(living: set[str], leaders: dict[int, str]) -> None:
    dealt = deal(dict.fromkeys(living, ALL), leaders)
    assert deal(dict.fromkeys(living, ALL), dealt) == dealt
    most = -(-len(ALL) // len(living))
    led = Counter(leader for leader in leaders.values() if leader in living)
    moved = sum(dealt[party] != leader for party, leader in leaders.items() if leader in living)
    least = len(ALL) // len(living)
    too_many = sum(max(0, count - most) for count in led.values())
    too_few = sum(max(0, least - count) for count in (led[writer_id] for writer_id in living))
    assert moved <= max(too_many, too_few)


@given(st.dictionaries(st.sampled_from("abc"), st.sets(st.sampled_from(ALL))), owners)
def test_only_who_is_ready_takes_over(ready: dict[str, set[int]], leaders: dict[int, str]) -> None:
    for party, writer_id in deal(ready, leaders).items():
        assert party in ready[writer_id] or leaders[party] == writer_id


@given(writers, owners, st.sets(st.sampled_from("abcdefg")))
def test_who_is_new_gets_nothing_that_others_lead_or_can(
    living: set[str], leaders: dict[int, str], new: set[str]
) -> None:
    dealt = deal(dict.fromkeys(living, ALL), leaders, new)
    assert sorted(dealt) == sorted(ALL), "somebody gets it"
    for party, writer_id in dealt.items():
        if writer_id in new:
            assert leaders.get(party) == writer_id or (
                living <= new and leaders.get(party) not in living
            )
