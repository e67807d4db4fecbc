"""Which groups have lost their leader and do not choose another yet, and what they are sent.

And which have lost their majority: what their leader still takes, nobody can acknowledge.

Owns the rule, and the count of what was sent in one outage. Pure: answers and the time in, vote
requests out. Why the requests are harmless, and what each condition is for: docs/adr/0013.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from broker.raft import CANDIDATE, FOLLOWER, LEADER, Member, VoteRequest

UNHEARD_MS: Final = 2_250
"""A living leader looks each second (nats-server's `hbInterval`) whether it said anything in the
last one, so followers hear of it every 2 s at least."""
STILL_MS: Final = 1_000
"""Who is about to stand for election does so within 800 ms (`maxCampaignTimeout`), in a new term.
When one lasts longer nobody is: all wait for 4 s and more."""
TRIES_MAX: Final = 5


class _Vacancy(Struct):
    """A group since its leader was seen last."""

    term: int
    """The highest that any member told."""
    since_ms: int
    """When that was told first, or the group was sent a request."""
    candidate: str = ""
    """In whose name it was sent requests."""
    tries: int = 0
    is_certain: bool = False
    """One of them was sent because we saw which leader was lost."""


class Elections:
    """The groups of one cluster during one outage."""

    def __init__(self) -> None:
        self._vacancies: dict[str, _Vacancy] = {}
        self._given_up: dict[str, int] = {}
        """By group, the term in which its leader was asked to give way."""

    def due(
        self, answers: Iterable[Mapping[str, Member]], now_ms: int, *, are_alone: bool = False
    ) -> list[VoteRequest]:
        """What to send now, given what each server that answers says of its groups.

        It counts as sent. now_ms is a monotonic clock. are_alone: those that answer have
        connections to each other, and none to any other server.
        """
        members: dict[str, list[Member]] = {}
        for groups in answers:
            for group, member in groups.items():
                members.setdefault(group, []).append(member)
        found = (self._due(group, of, now_ms, are_alone=are_alone) for group, of in members.items())
        return [request for request in found if request is not None]

    def _due(
        self, group: str, members: Sequence[Member], now_ms: int, *, are_alone: bool
    ) -> VoteRequest | None:
        leader = next((member for member in members if _leads(member, members)), None)
        if leader is not None:
            self._vacancies.pop(group, None)
            return self._give_up(group, leader) if are_alone and not _are_enough(members) else None
        if not _can_choose(members):
            return None
        vacancy = self._vacancy(group, max(member.term for member in members), now_ms)
        lost = _lost_leader(members, are_alone=are_alone)
        candidate = lost or _gone_leader(members, vacancy.candidate)
        is_certain = bool(lost) or vacancy.is_certain
        lasts_ms = now_ms - vacancy.since_ms
        if not candidate or lasts_ms < _wait_ms(vacancy, members, is_certain=is_certain):
            return None
        if vacancy.tries >= TRIES_MAX:
            return None
        vacancy.candidate, vacancy.is_certain = candidate, is_certain
        vacancy.tries += 1
        vacancy.since_ms = now_ms
        return VoteRequest(group, vacancy.term + 1, candidate)

    def _give_up(self, group: str, leader: Member) -> VoteRequest | None:
        """A leader that hears of a higher term gives way. Once in a term."""
        if self._given_up.get(group) == leader.term or not leader.others:
            return None
        self._given_up[group] = leader.term
        return VoteRequest(group, leader.term + 1, min(leader.others))

    def _vacancy(self, group: str, term: int, now_ms: int) -> _Vacancy:
        vacancy = self._vacancies.setdefault(group, _Vacancy(term, now_ms))
        if vacancy.term < term:  # else its member did not answer this time
            vacancy.term, vacancy.since_ms = term, now_ms
        return vacancy


def _leads(member: Member, members: Sequence[Member]) -> bool:
    """Not if a majority is beyond its term: it stood still, and hears of that soon."""
    beyond = sum(other.term > member.term for other in members)
    return member.state == LEADER and beyond < member.quorum


def _are_enough(members: Sequence[Member]) -> bool:
    """Whether those that answer are a majority."""
    return len(members) >= max(member.quorum for member in members)


def _can_choose(members: Sequence[Member]) -> bool:
    if not _are_enough(members):
        return False
    # If all logs are empty, all would vote for the request's, and wait longer than before.
    return any(member.last_index for member in members)


def _lost_leader(members: Sequence[Member], *, are_alone: bool) -> str:
    """The one that all members who name a leader name, and who certainly leads no more; or ""."""
    named = {member.leader for member in members if member.leader}
    if len(named) != 1:
        return ""
    (leader,) = named
    is_lost = _is_elsewhere(leader, members, are_alone=are_alone) or _is_unheard(leader, members)
    return leader if is_lost else ""


def _is_elsewhere(leader: str, members: Sequence[Member], *, are_alone: bool) -> bool:
    """Tell if no member that answers can hear the leader, or if it came back and does not lead.

    Who follows in the term that it is named for can't win that one any more. Answers are not of one
    moment: in an older or newer term it may have been elected in between.
    """
    itself = next((member for member in members if member.id == leader), None)
    if itself is None:
        return are_alone
    terms = {member.term for member in members if member.leader}
    return itself.state == FOLLOWER and terms == {itself.term}


def _is_unheard(leader: str, members: Sequence[Member]) -> bool:
    return all(m.unheard_ms.get(leader, 0) >= UNHEARD_MS for m in members if m.leader)


def _gone_leader(members: Sequence[Member], asked: str) -> str:
    """One that leads no more, as nobody does who is named, unless one is just elected; or "".

    Who is named and does not answer may lead.
    """
    named, ids = {member.leader for member in members} - {""}, {member.id for member in members}
    if not named:
        # A request in the name of one that is no member any more might make it one again.
        known = frozenset[str]().union(*(member.others for member in members))
        return asked or min(ids & known, default="")
    return min(named) if named <= ids else ""


def _wait_ms(vacancy: _Vacancy, members: Sequence[Member], *, is_certain: bool) -> int:
    """How long the term must have lasted: a new one may be of an election that is under way."""
    ids = {member.id for member in members}
    if not is_certain and not all(member.others <= ids for member in members):
        return UNHEARD_MS
    if not vacancy.tries:
        return 0 if is_certain else STILL_MS
    return 0 if _is_split(members) else STILL_MS


def _is_split(members: Sequence[Member]) -> bool:
    """All voted for themselves: nobody wins, and they would wait for another 4 s or more.

    A member whose log is empty, as that of a queue in memory is after a start, may vote for one of
    them; its vote counts only if all others voted for the same.
    """
    voters = [member for member in members if member.last_index]
    return all(each.state == CANDIDATE for each in voters) and len({v.term for v in voters}) == 1
