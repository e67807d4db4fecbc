"""Which groups the sentinel sends requests for votes, and which it leaves alone."""

from collections.abc import Sequence
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.raft import CANDIDATE, FOLLOWER, LEADER, Member, VoteRequest
from sentinel.core.elections import STILL_MS, TRIES_MAX, UNHEARD_MS, Elections

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
    return Member(name * 8, state, leader, term, last_index, 2, others(name * 8), unheard)


def others(member_id: str) -> frozenset[str]:
    """The rest of a group of three."""
    return frozenset(("aaaaaaaa", "bbbbbbbb", DEAD)) - {member_id}


def due(
    elections: Elections, members: Sequence[Member], now_ms: int = 0, *, are_alone: bool = False
) -> list[VoteRequest]:
    return elections.due([{GROUP: each} for each in members], now_ms, are_alone=are_alone)


def back(term: int, state: str = FOLLOWER) -> Member:
    """Who was named the leader, and says that it leads nothing."""
    return Member(DEAD, state, "", term, 0, 2, others(DEAD), {})


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
        [member("a"), member("b"), Member(DEAD, LEADER, DEAD, 7, 9, 2, others(DEAD), {})],
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


GAVE_WAY = [member("a", unheard_ms=SHORT), member("b", unheard_ms=SHORT), back(term=8)]
NAMELESS = [member("a", ""), member("b", "")]

VACANCIES = {
    "the leader gave way, and nobody was elected": (
        GAVE_WAY,
        STILL_MS,
        [VoteRequest(GROUP, 9, DEAD)],
    ),
    "nobody knows of a leader": (
        [*NAMELESS, back(term=7)],
        STILL_MS,
        [VoteRequest(GROUP, 8, "aaaaaaaa")],
    ),
    "nobody knows of a leader, and one does not answer": (
        NAMELESS,
        UNHEARD_MS,
        [VoteRequest(GROUP, 8, "aaaaaaaa")],
    ),
    "two are named, answer and do not lead": (
        [member("a", unheard_ms=SHORT), member("b", "aaaaaaaa", SHORT), back(term=8)],
        STILL_MS,
        [VoteRequest(GROUP, 9, "aaaaaaaa")],
    ),
}


@pytest.mark.parametrize("case", VACANCIES)
def test_a_group_that_nobody_leads_gets_the_time_of_an_election(case: str) -> None:
    """A leader that gives way shortens nobody's timer: left alone, they would wait 4 s and more."""
    members, lasting_ms, expected = VACANCIES[case]
    elections = Elections()
    assert not due(elections, members, 0)
    assert not due(elections, members, lasting_ms - 1)
    assert due(elections, members, lasting_ms) == expected


INTERRUPTIONS = {
    "somebody led": [member("a", "bbbbbbbb"), member("b", state=LEADER), back(term=8)],
    "somebody stood for election": [member("a", "", state=CANDIDATE, term=9), member("b", "")],
}


@pytest.mark.parametrize("between", INTERRUPTIONS.values(), ids=INTERRUPTIONS)
def test_a_vacancy_that_was_interrupted_begins_anew(between: list[Member]) -> None:
    elections = Elections()
    assert not due(elections, GAVE_WAY, 0)
    assert not due(elections, between, 1)
    assert not due(elections, GAVE_WAY, STILL_MS)
    term = 1 + max(each.term for each in (*between, *GAVE_WAY))
    assert due(elections, GAVE_WAY, 2 * STILL_MS) == [VoteRequest(GROUP, term, DEAD)]


def test_a_vacancy_lasts_though_some_do_not_answer_in_between() -> None:
    """A busy server misses a question now and then; who was elected meanwhile has a new term."""
    elections = Elections()
    assert not due(elections, GAVE_WAY, 0)
    assert not due(elections, GAVE_WAY[:2], 1)
    assert not due(elections, GAVE_WAY[2:], 2)
    assert due(elections, GAVE_WAY, STILL_MS)


def test_a_leader_that_answers_nobody_may_lead_as_long_as_it_is_heard() -> None:
    elections = Elections()
    members = [member("a", unheard_ms=SHORT), member("b", unheard_ms=SHORT)]
    assert not any(due(elections, members, beat * STILL_MS) for beat in range(5))


def test_a_group_is_asked_again_only_when_nobody_is_about_to_stand() -> None:
    """Each new term is of somebody who did."""
    elections = Elections()
    assert due(elections, [member("a"), member("b")], 0)
    for beat_ms, term in ((250, 8), (750, 9), (750 + STILL_MS - 1, 9)):
        leaderless = [member("a", "", term=term), member("b", "", term=8)]
        assert not due(elections, leaderless, beat_ms)
    assert due(elections, leaderless, 750 + STILL_MS) == [VoteRequest(GROUP, 10, DEAD)]


def test_a_request_that_was_lost_is_sent_again() -> None:
    elections = Elections()
    lost = [member("a"), member("b")]
    assert due(elections, lost, 0) == REQUEST
    assert not due(elections, lost, STILL_MS - 1)
    assert due(elections, lost, STILL_MS) == REQUEST
    assert not due(elections, lost, STILL_MS + 250)


def test_while_one_that_may_be_elected_does_not_answer_it_gets_more_time() -> None:
    """Also after a request, and if the others voted for themselves."""
    elections = Elections()
    assert not due(elections, NAMELESS, 0)
    assert due(elections, NAMELESS, UNHEARD_MS)
    split = [member(name, "", state=CANDIDATE, term=9) for name in "ab"]
    assert not due(elections, split, UNHEARD_MS + 250)
    assert not due(elections, split, 2 * UNHEARD_MS + 249)
    assert due(elections, split, 2 * UNHEARD_MS + 250)


def test_who_leads_in_a_term_that_a_majority_has_left_leads_no_more() -> None:
    elections = Elections()
    stale = Member(DEAD, LEADER, DEAD, 7, 9, 2, others(DEAD), {})
    members = [member("a", "", term=9), member("b", "", term=9), stale]
    assert not due(elections, members, 0)
    assert due(elections, members, STILL_MS) == [VoteRequest(GROUP, 10, DEAD)]


def test_who_leads_is_not_deposed_for_one_that_is_cut_off_and_stands_again_and_again() -> None:
    elections = Elections()
    for beat in range(9):
        leader = member("b", "bbbbbbbb", state=LEADER)
        alone = Member(DEAD, CANDIDATE, "", 8 + beat // 4, 9, 2, others(DEAD), {})
        members = [member("a", "bbbbbbbb", SHORT), leader, alone]
        assert not due(elections, members, beat * STILL_MS)


def leading(term: int = 7) -> Member:
    return member("a", "aaaaaaaa", None, state=LEADER, term=term)


def test_a_leader_whose_majority_is_gone_is_asked_to_give_way_once_in_a_term() -> None:
    elections = Elections()
    assert due(elections, [leading()], 0, are_alone=True) == [VoteRequest(GROUP, 8, "bbbbbbbb")]
    assert not due(elections, [leading()], 250, are_alone=True)
    assert not due(elections, [member("a", "", state=CANDIDATE, term=8)], 500, are_alone=True)
    assert due(elections, [leading(9)], 750, are_alone=True) == [VoteRequest(GROUP, 10, "bbbbbbbb")]


@pytest.mark.parametrize(
    ("members", "are_alone"),
    [
        ([leading()], False),
        ([leading(), member("b", "aaaaaaaa", SHORT)], True),
    ],
    ids=["others may be there that we don't reach", "two of three are a majority"],
)
def test_a_leader_that_may_have_a_majority_is_left_alone(
    members: list[Member], *, are_alone: bool
) -> None:
    assert not due(Elections(), members, are_alone=are_alone)


def test_who_is_no_member_any_more_asks_for_nothing() -> None:
    elections = Elections()
    removed = Member("00000000", FOLLOWER, "", 7, 9, 2, others("aaaaaaaa"), {})
    members = [removed, *NAMELESS, back(term=7)]
    assert not due(elections, members, 0)
    assert due(elections, members, STILL_MS) == [VoteRequest(GROUP, 8, "aaaaaaaa")]


def test_split_votes_are_ended_at_once() -> None:
    elections = Elections()
    assert due(elections, [member("a"), member("b")], 0)
    split = [member(name, "", state=CANDIDATE, term=9) for name in "ab"]
    assert due(elections, split, 250) == [VoteRequest(GROUP, 10, DEAD)]


def test_the_vote_of_an_empty_log_ends_no_split() -> None:
    """Its member was started anew, with what it had in memory gone."""
    elections = Elections()
    assert due(elections, [member("a"), member("b")], 0, are_alone=True)
    split = [member(name, "", state=CANDIDATE, term=9) for name in "ab"]
    assert due(elections, [*split, back(term=9)], 250) == [VoteRequest(GROUP, 10, DEAD)]


def test_a_candidate_that_may_still_win_is_left_alone() -> None:
    elections = Elections()
    assert due(elections, [member("a"), member("b")], 0)
    assert not due(elections, [member("a", "", state=CANDIDATE, term=9), member("b", "")], 250)
    ahead = [member("a", "", state=CANDIDATE, term=10), member("b", "", state=CANDIDATE, term=9)]
    assert not due(elections, ahead, 250)


def test_tries_are_bounded_until_a_leader_was_seen() -> None:
    elections = Elections()
    lost = [member("a"), member("b")]
    sent = [due(elections, lost, try_ * STILL_MS) for try_ in range(TRIES_MAX + 3)]
    assert [bool(requests) for requests in sent] == [True] * TRIES_MAX + [False] * 3
    assert not due(elections, [member("a", state=LEADER)], 10 * STILL_MS)
    assert due(elections, lost, 11 * STILL_MS)


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
            others=draw(st.frozensets(ids)),
            unheard_ms=draw(st.dictionaries(ids, st.integers(0, 2 * UNHEARD_MS))),
        )
        for name in draw(st.sets(st.sampled_from("abc")))
    ]


@given(outage=st.lists(answers(), max_size=12), are_alone=st.booleans())
def test_whatever_servers_say_a_request_is_rare_and_next_in_term(
    outage: list[list[Member]], *, are_alone: bool
) -> None:
    """Also when they contradict each other, in any order."""
    elections = Elections()
    for beat, members in enumerate(outage):
        for request in due(elections, members, beat * STILL_MS, are_alone=are_alone):
            assert request.term > max(each.term for each in members)
            assert request.term <= 1 + max(each.term for each in chain(*outage[: beat + 1]))
            if is_led(members):
                assert are_alone
                assert len(members) < 2
                continue
            assert len(members) >= 2
            is_unreached = are_alone and all(request.candidate != each.id for each in members)
            assert (
                is_unreached
                or is_lost(request.candidate, members)
                or (beat and is_vacant(members) and not is_led(outage[beat - 1]))
            )


def is_lost(leader: str, members: list[Member]) -> bool:
    """Nobody names another, and it is unheard, or follows in its own term."""
    stands = [(other.id, other.state, other.term) for other in members]
    return all(
        each.leader in ("", leader)
        and (
            not each.leader
            or each.unheard_ms.get(leader, 0) >= UNHEARD_MS
            or (leader, FOLLOWER, each.term) in stands
        )
        for each in members
    )


def is_vacant(members: list[Member]) -> bool:
    """Who they name answers too and leads nothing."""
    answering = {each.id for each in members}
    return not is_led(members) and all(each.leader in {"", *answering} for each in members)


def is_led(members: list[Member]) -> bool:
    """By one that could have a majority."""
    return any(
        each.state == LEADER and sum(other.term > each.term for other in members) < 2
        for each in members
    )
