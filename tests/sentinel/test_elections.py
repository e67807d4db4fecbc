"""Which groups the sentinel sends requests for votes, and which it leaves alone."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.raft import CANDIDATE, FOLLOWER, LEADER, Member, VoteRequest
from sentinel.core.elections import AGAIN_MS, TRIES_MAX, UNHEARD_MS, Elections

GROUP = "S-R3F-abc"
DEAD = "deaddead"
LONG = UNHEARD_MS
SHORT = UNHEARD_MS - 1


def member(
    name: str,
    leader: str = DEAD,
    unheard_ms: int | None = LONG,
    *,
    state: str = FOLLOWER,
    term: int = 7,
    last_index: int = 9,
) -> Member:
    unheard = {} if unheard_ms is None else {leader: unheard_ms}
    return Member(name * 8, state, leader, term, last_index, 2, unheard)


def due(
    elections: Elections, members: Sequence[Member], now_ms: int = 0, *, are_alone: bool = False
) -> list[VoteRequest]:
    return elections.due([{GROUP: each} for each in members], now_ms, are_alone=are_alone)


def back(term: int, state: str = FOLLOWER) -> Member:
    """Who was named the leader, and says that it leads nothing."""
    return Member(DEAD, state, "", term, 0, 2, {})


REQUEST = [VoteRequest(GROUP, 8, DEAD)]

CASES = {
    "both survivors miss the leader": ([member("a"), member("b")], REQUEST),
    "one of them knows of no leader": ([member("a"), member("b", "")], REQUEST),
    "terms differ: above the highest": (
        [member("a", term=4), member("b", "", term=7)],
        REQUEST,
    ),
    "the leader was started anew": (
        [member("a", unheard_ms=SHORT), member("b", unheard_ms=SHORT), back(term=7)],
        REQUEST,
    ),
    "the leader was asked before it was elected": (
        [member("a", unheard_ms=SHORT), member("b", unheard_ms=SHORT), back(7, CANDIDATE)],
        [],
    ),
    "the leader was asked before it stood for election": (
        [member("a", unheard_ms=SHORT), member("b", unheard_ms=SHORT), back(term=6)],
        [],
    ),
    "the leader gave way to an election that is newer": (
        [member("a", unheard_ms=SHORT), member("b", unheard_ms=SHORT), back(term=8)],
        [],
    ),
    "one log is empty, as of a queue in memory": (
        [member("a", last_index=0), member("b")],
        REQUEST,
    ),
    "one of them heard the leader: only we are cut off": (
        [member("a"), member("b", unheard_ms=SHORT)],
        [],
    ),
    "it is not told when the leader was heard": ([member("a"), member("b", unheard_ms=None)], []),
    "one survivor of three is no majority": ([member("a")], []),
    "nobody answers": ([], []),
    "there is a new leader": ([member("a", "bbbbbbbb", 5), member("b", state=LEADER)], []),
    "the leader answers, cut off from the others": (
        [member("a"), member("b"), Member(DEAD, LEADER, DEAD, 7, 9, 2, {})],
        [],
    ),
    "they name different leaders": ([member("a"), member("b", "otheroth")], []),
    "it never had a leader that we know of": ([member("a", ""), member("b", "")], []),
    "all logs are empty": ([member("a", last_index=0), member("b", last_index=0)], []),
}


@pytest.mark.parametrize("case", CASES)
def test_a_group_is_sent_a_request_only_if_its_leader_is_lost(case: str) -> None:
    members, expected = CASES[case]
    assert due(Elections(), members) == expected


def test_a_leader_whose_server_has_no_connection_to_any_other_is_lost_at_once() -> None:
    members = [member("a", unheard_ms=SHORT), member("b", unheard_ms=SHORT)]
    assert due(Elections(), members, are_alone=True) == REQUEST


def test_a_group_is_asked_again_only_when_a_campaign_could_have_ended() -> None:
    elections = Elections()
    assert due(elections, [member("a"), member("b")], 0)
    leaderless = [member("a", "", term=8), member("b", "", term=8)]
    assert not due(elections, leaderless, AGAIN_MS - 1)
    assert due(elections, leaderless, AGAIN_MS) == [VoteRequest(GROUP, 9, DEAD)]


def test_split_votes_are_ended_at_once() -> None:
    elections = Elections()
    assert due(elections, [member("a"), member("b")], 0)
    split = [member(name, "", state=CANDIDATE, term=9) for name in "ab"]
    assert due(elections, split, 250) == [VoteRequest(GROUP, 10, DEAD)]


def test_a_candidate_that_may_still_win_is_left_alone() -> None:
    elections = Elections()
    assert due(elections, [member("a"), member("b")], 0)
    assert not due(elections, [member("a", "", state=CANDIDATE, term=9), member("b", "")], 250)
    ahead = [member("a", "", state=CANDIDATE, term=10), member("b", "", state=CANDIDATE, term=9)]
    assert not due(elections, ahead, 250)


def test_tries_are_bounded_until_a_leader_was_seen() -> None:
    elections = Elections()
    lost = [member("a"), member("b")]
    sent = [due(elections, lost, try_ * AGAIN_MS) for try_ in range(TRIES_MAX + 3)]
    assert [bool(requests) for requests in sent] == [True] * TRIES_MAX + [False] * 3
    assert not due(elections, [member("a", state=LEADER)], 10 * AGAIN_MS)
    assert due(elections, lost, 11 * AGAIN_MS)


ids = st.sampled_from(["aaaaaaaa", "bbbbbbbb", "cccccccc", DEAD])
states = st.sampled_from([FOLLOWER, CANDIDATE, LEADER])


@st.composite
def answers(draw: st.DrawFn) -> list[Member]:
    """Anything that up to three servers may say."""
    return [
        Member(
            id=name * 8,
            state=draw(states),
            leader=draw(ids | st.just("")),
            term=draw(st.integers(0, 50)),
            last_index=draw(st.integers(0, 2)),
            quorum=2,
            unheard_ms=draw(st.dictionaries(ids, st.integers(0, 2 * UNHEARD_MS))),
        )
        for name in draw(st.sets(st.sampled_from("abc")))
    ]


@given(st.lists(answers(), max_size=12))
def test_whatever_servers_say_a_request_is_rare_and_next_in_term(
    outage: list[list[Member]],
) -> None:
    """Also when they contradict each other, in any order."""
    elections = Elections()
    for beat, members in enumerate(outage):
        for request in due(elections, members, beat * AGAIN_MS):
            assert len(members) >= 2
            assert all(each.state != LEADER for each in members)
            assert request.term == 1 + max(each.term for each in members)
            stands = [(other.id, other.state, other.term) for other in members]
            for each in members:
                assert each.leader in ("", request.candidate)
                assert (
                    not each.leader
                    or each.unheard_ms.get(each.leader, 0) >= UNHEARD_MS
                    or (request.candidate, FOLLOWER, each.term) in stands
                )
