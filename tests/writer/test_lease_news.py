"""Most renewals say nothing new: then nothing follows from them but that a lease ends later."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writer.core.leases import LEASE_MS, LEASE_RENEWED_MS, Leases

ALL = range(4)


@dataclass
class Renewal:
    """Of a writer, that comes some time after the one before."""

    writer_id: str
    later_ms: int = 0
    ready: set[int] = field(default_factory=set)
    leads: set[int] = field(default_factory=set)
    is_new: bool = False

    def heard(self, leases: Leases, now_ms: int) -> bool:
        return leases.renewed(self.writer_id, self.ready, self.leads, now_ms, is_new=self.is_new)


some = st.sets(st.sampled_from(ALL))
renewals = st.builds(
    Renewal,
    st.sampled_from("abc"),
    st.sampled_from([0, 50, LEASE_RENEWED_MS, 450, LEASE_MS]),
    some,
    some,
    st.booleans(),
)


@pytest.mark.parametrize(
    ("renewal", "is_news"),
    [
        (Renewal("a"), False),
        (Renewal("b"), False),
        (Renewal("c"), True),
        (Renewal("a", ready={1}), True),
        (Renewal("a", leads={1}), True),
        (Renewal("a", is_new=True), True),
        (Renewal("b", LEASE_MS - 1), True),
    ],
    ids=[
        "another's, as before",
        "one's own, as before",
        "one more writer",
        "ready for another party",
        "leads another party",
        "is better not dealt anything",
        "one's own, after so long that all others may be dead",
    ],
)
def test_a_renewal_that_says_what_the_last_one_did_is_no_news(
    renewal: Renewal, *, is_news: bool
) -> None:
    leases = Leases("b")
    for writer_id in "ba":
        assert Renewal(writer_id).heard(leases, 0)
    assert renewal.heard(leases, renewal.later_ms) is is_news


def test_who_is_heard_after_this_writer_was_deaf_is_news() -> None:
    leases = Leases("b")
    for writer_id in "ba":
        Renewal(writer_id).heard(leases, 0)
    assert Renewal("b").heard(leases, LEASE_MS - 1)
    assert Renewal("a").heard(leases, LEASE_MS - 1)
    assert not Renewal("a").heard(leases, LEASE_MS)


@given(
    st.dictionaries(st.sampled_from(ALL), st.sampled_from("abcd")),
    st.lists(renewals.flatmap(lambda each: st.lists(st.just(each), min_size=1, max_size=3))),
)
def test_nothing_follows_from_what_is_no_news(
    leaders: dict[int, str], heard: list[list[Renewal]]
) -> None:
    leases, now_ms = Leases("b"), 0
    for party, writer_id in leaders.items():
        leases.led(party, writer_id, 1)
    for renewal in (each for repeated in heard for each in repeated):
        now_ms += renewal.later_ms
        leases.expire(now_ms)
        before = follows(leases)
        if not renewal.heard(leases, now_ms):
            assert follows(leases) == before


def follows(leases: Leases) -> list[object]:
    """All that a writer does something about."""
    return [
        leases.to_hand_over(),
        leases.to_take(),
        [leases.to_name_anew(party) for party in ALL],
        set(leases.living),
        leases.leaders,
        leases.led_parties,
        leases.can_judge,
        leases.knows_the_living,
    ]
