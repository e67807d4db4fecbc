"""An append that its stream's leader will never answer is given up soon, and no other one is."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from broker.nats_appends import elected_ago_s
from broker.nats_broker import NatsBroker
from broker.nats_subscription import all_sent
from broker.port import AppendRefused, AppendUnknown
from contracts.subjects import LEADER_ELECTED, journal_stream, journal_subject
from tests.broker.implementations import DEADLINE_S, over_nats

NOW_NS = 1_767_323_045_600_000_000
PARTY = 7
"""Whose journal no stream stores here: the test answers for its leaders."""


def news(at_ns: int) -> bytes:
    """What a leader that was elected then tells."""
    whole_s, ns = divmod(at_ns, 1_000_000_000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole_s))
    return json.dumps({"timestamp": f"{whole}.{ns:09}Z", "stream": journal_stream(PARTY)}).encode()


@pytest.mark.parametrize(
    ("data", "ago_s"),
    [
        (news(NOW_NS), 0.0),
        (news(NOW_NS - 20_000_000), 0.02),
        (news(NOW_NS + 20_000_000), 0.0),  # its clock is ahead of ours
        (news(NOW_NS - 3_600_000_000_000), 0.0),  # or far behind
        (b"{}", 0.0),
        (b'{"timestamp": "yesterday"}', 0.0),
        (b"", 0.0),
    ],
)
def test_news_of_an_election_is_as_old_as_it_says_if_that_can_be(data: bytes, ago_s: float) -> None:
    assert elected_ago_s(data, NOW_NS) == pytest.approx(ago_s)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[NatsBroker]:
    """A connection that hears of elections."""
    async with over_nats(tmp_path) as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        await broker.provide_streams(1)
        following = await broker.follow(journal_stream(0), after=None)
        yield broker
        await following.close()
        await broker.close()


@pytest.fixture
async def leader(broker: NatsBroker) -> AsyncIterator[Client]:
    """A connection of the servers' side."""
    address = broker._client.connected_url  # noqa: SLF001  # the tests know no other way
    assert address is not None
    client = await nats.connect(address.geturl())
    yield client
    await client.close()


@pytest.mark.server
async def test_an_append_that_was_sent_after_the_election_is_waited_for(
    broker: NatsBroker, leader: Client
) -> None:
    """The news of an election may come after the new leader took an append."""
    taken = await leader.subscribe(journal_subject(PARTY))
    await all_sent(leader)
    before = await broker.append(journal_subject(PARTY), b"before", expected_last_sequence=0)
    assert (await taken.next_msg(DEADLINE_S)).data == b"before"
    elected_ns = time.time_ns()
    await all_sent(leader)
    after = await broker.append(journal_subject(PARTY), b"after", expected_last_sequence=0)
    received = await taken.next_msg(DEADLINE_S)
    assert received.data == b"after"
    await leader.publish(f"{LEADER_ELECTED}.{journal_stream(PARTY)}", news(elected_ns))
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(AppendUnknown, match="leader before"):
            await before
        await received.respond(b'{"stream": "EVT_7", "seq": 1}')
        assert await after == 1


def refusal(last_sequence: int) -> bytes:
    return json.dumps(
        {
            "error": {
                "code": 400,
                "err_code": 10071,
                "description": f"wrong last sequence: {last_sequence}",
            },
            "stream": "EVT_7",
            "seq": 0,
        }
    ).encode()


@pytest.mark.server
async def test_who_refuses_for_want_of_what_an_append_rests_on_leads_no_more(
    leader: Client,
) -> None:
    """A leader that was paused answers as one, until it hears that there is another."""
    address = leader.connected_url
    assert address is not None
    writer = await NatsBroker.connect(address.geturl(), name="test", role="test", replicas=3)
    try:
        await check_who_is_believed(writer, leader)
    finally:
        await writer.close()


async def check_who_is_believed(writer: NatsBroker, leader: Client) -> None:
    taken = await leader.subscribe(journal_subject(PARTY))
    await all_sent(leader)
    appends = [
        await writer.append(journal_subject(PARTY), b"frame", expected_last_sequence=at)
        for at in (4, 5, 6)
    ]
    received = [await taken.next_msg(DEADLINE_S) for _ in appends]
    for each in received:
        await each.respond(refusal(3))
    for each, sequence in zip(received[:2], (5, 6), strict=True):
        await each.respond(b'{"stream": "EVT_7", "seq": %d}' % sequence)
    await received[2].respond(refusal(7))
    async with asyncio.timeout(DEADLINE_S):
        assert [await each for each in appends[:2]] == [5, 6]
        with pytest.raises(AppendRefused, match="wrong last sequence: 7"):
            await appends[2]
