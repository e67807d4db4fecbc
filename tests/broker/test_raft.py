"""Raft's forms as nats-server has them: its groups, and a request for votes."""

import json
from typing import Any

import pytest

from broker.raft import Member, Undecodable, VoteRequest, decode_groups, encode_vote_request

FOLLOWER = {
    "id": "44jzkV9D",
    "state": "FOLLOWER",
    "size": 3,
    "quorum_needed": 2,
    "leader": "fjFyEjc1",
    "term": 3,
    "pindex": 21,
    "system_account": True,
    "traffic_account": "$SYS",
    "peers": {
        "fjFyEjc1": {"name": "nats-1", "known": True, "last_seen": "1.042956306s"},
        "BXScrY9i": {"name": "nats-3", "known": True},
    },
}
"""As nats-server 2.15 says it, shortened."""


def raftz(**changed: Any) -> bytes:
    return json.dumps({"$G": {"S-R3F-x": FOLLOWER | changed}}).encode()


def test_a_servers_groups_are_read() -> None:
    others = frozenset(("fjFyEjc1", "BXScrY9i"))
    assert decode_groups(raftz()) == {
        "S-R3F-x": Member("44jzkV9D", "FOLLOWER", "fjFyEjc1", 3, 21, 2, others, {"fjFyEjc1": 1_042})
    }


@pytest.mark.parametrize(
    ("duration", "ms"),
    [("243.956306ms", 243), ("9.1µs", 0), ("12s", 12_000), ("1m2.5s", 62_500), ("1h0m1s", 3601000)],
)
def test_how_long_a_peer_is_unheard_is_read_in_gos_units(duration: str, ms: int) -> None:
    groups = decode_groups(raftz(peers={"fjFyEjc1": {"last_seen": duration}}))
    assert groups["S-R3F-x"].unheard_ms == {"fjFyEjc1": ms}


def test_a_group_that_talks_in_another_account_is_left_out() -> None:
    assert decode_groups(raftz(system_account=False)) == {}


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"$G": {"x": {}}}',
        raftz(term="3"),
        raftz(peers={"fjFyEjc1": {"last_seen": "a while"}}),
    ],
)
def test_what_is_not_understood_is_refused(body: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_groups(body)


def test_a_request_for_votes_has_an_empty_log() -> None:
    data = encode_vote_request(VoteRequest("S-R3F-x", 0x0102, "fjFyEjc1"))
    assert data == b"\x02\x01" + 22 * b"\0" + b"fjFyEjc1"
