"""Raft as nats-server speaks it: what a server says of its groups, and a request for votes.

Pure. Both forms are the server's own and no published protocol; they were the same from 2.12 to
2.15 (docs/adr/0013), and tests against a real cluster find out when they change.
"""

import re
import struct
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

LEADER: Final = "LEADER"
CANDIDATE: Final = "CANDIDATE"
FOLLOWER: Final = "FOLLOWER"

_PEER_ID_BYTES: Final = 8
_VOTE_REQUEST: Final = struct.Struct(f"<QQQ{_PEER_ID_BYTES}s")
"""Term, term and index of the last log entry, candidate."""
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|µs|ns|m|s))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(h|ms|µs|ns|m|s)")
_MS: Final = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1, "µs": 1e-3, "ns": 1e-6}


class Undecodable(Exception):
    """A server answered with something else than its groups."""


class Member(Struct, frozen=True):
    """What one server says of a group that it belongs to."""

    id: str
    """Of the server; the same in all groups."""
    state: str
    """LEADER, CANDIDATE, FOLLOWER, …"""
    leader: str
    """The id of the leader that it follows; "" if it knows of none."""
    term: int
    last_index: int
    """Of its log; 0 if that is empty."""
    quorum: int
    """Members that make a majority."""
    others: frozenset[str]
    """The ids of the group's other members."""
    unheard_ms: Mapping[str, int]
    """How long it has heard nothing of other members. A follower knows it of its leader alone."""


class VoteRequest(Struct, frozen=True):
    """Sent to a group's members in the name of one of them, as if that had lost its whole log."""

    group: str
    term: int
    candidate: str
    """The member's id."""


class _Peer(Struct):
    last_seen: str = ""


class _Group(Struct):
    id: str
    state: str
    term: int
    quorum_needed: int
    pindex: int
    peers: dict[str, _Peer]
    system_account: bool
    leader: str = ""


_RAFTZ: Final = msgspec.json.Decoder(dict[str, dict[str, _Group]])


def decode_groups(body: bytes) -> dict[str, Member]:
    """The groups of an answer of `/raftz`, by name. Raise Undecodable.

    Left out are those whose members talk in another NATS account than the system's, where no
    request of ours would reach them (`cluster_traffic: owner`).
    """
    try:
        accounts = _RAFTZ.decode(body)
        return {
            name: _member(group)
            for groups in accounts.values()
            for name, group in groups.items()
            if group.system_account
        }
    except ValueError as error:  # msgspec's own is one
        raise Undecodable(str(error)) from error


def encode_vote_request(request: VoteRequest) -> bytes:
    """With an empty log: no member whose own is not empty votes for that."""
    return _VOTE_REQUEST.pack(request.term, 0, 0, request.candidate.encode("ascii"))


def _member(group: _Group) -> Member:
    return Member(
        id=group.id,
        state=group.state,
        leader=group.leader,
        term=group.term,
        last_index=group.pindex,
        quorum=group.quorum_needed,
        others=frozenset(group.peers),
        unheard_ms={
            peer_id: _whole_ms(peer.last_seen)
            for peer_id, peer in group.peers.items()
            if peer.last_seen
        },
    )


def _whole_ms(duration: str) -> int:
    """Of Go's "1m2.5s". Raise ValueError."""
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"{duration!r} is no duration")
    return int(sum(float(n) * _MS[unit] for n, unit in _DURATION_PART.findall(duration)))
