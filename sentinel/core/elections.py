"""Which groups have lost their leader and do not choose another yet, and what they are sent.

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
AGAIN_MS: Final = 1_000
"""A request has its effect within 800 ms (`maxCampaignTimeout`), unless votes are split."""
TRIES_MAX: Final = 5


class _Asked(Struct):
    """What a group was sent since it was seen without a leader."""

    candidate: str
    tries: int
    at_ms: int


class Elections:
    """The groups of one cluster during one outage."""

    def __init__(self) -> None:
        self._asked: dict[str, _Asked] = {}

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
        if any(member.state == LEADER for member in members):
            self._asked.pop(group, None)
            return None
        if len(members) < max(member.quorum for member in members):
            return None
        if not any(member.last_index for member in members):
            return None  # all would vote for the empty log, and wait longer than before
        candidate = self._lost_leader(group, members, are_alone=are_alone)
        if not candidate:
            return None
        asked = self._asked.get(group)
        if asked is None or asked.candidate != candidate:
            asked = self._asked[group] = _Asked(candidate, 0, now_ms)
        if asked.tries >= TRIES_MAX or not _is_time(asked, members, now_ms):
            return None
        asked.tries += 1
        asked.at_ms = now_ms
        return VoteRequest(group, max(member.term for member in members) + 1, candidate)

    def _lost_leader(self, group: str, members: Sequence[Member], *, are_alone: bool) -> str:
        """The one that all members who name a leader name, and who certainly leads no more; or "".

        When none is named, the group has lost its leader for certain only if we saw which.
        """
        named = {member.leader for member in members if member.leader}
        if not named:
            return self._asked[group].candidate if group in self._asked else ""
        leader = min(named)
        if len(named) > 1 or not (
            _is_elsewhere(leader, members, are_alone=are_alone) or _is_unheard(leader, members)
        ):
            return ""
        return leader


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


def _is_time(asked: _Asked, members: Sequence[Member], now_ms: int) -> bool:
    if asked.tries == 0 or now_ms >= asked.at_ms + AGAIN_MS:
        return True
    # All have voted for themselves: nobody wins, and they would wait for another 4 s or more.
    is_split = all(member.state == CANDIDATE for member in members)
    return is_split and len({member.term for member in members}) == 1
