"""What the broker port promises about the bucket of leases, asked of every implementation."""

import asyncio

import pytest

from broker.port import AppendRefused, Following, StoredMessage
from contracts.subjects import LEASES_STREAM, leader_subject, lease_subject
from tests.broker.implementations import DEADLINE_S, Connect

LEADER = leader_subject(0)


async def test_a_value_is_stored_only_over_the_one_that_is_expected(connect: Connect) -> None:
    broker = await connect()
    first = await broker.put(LEADER, b"a", expected_revision=0)
    for wrong in (0, first + 1):
        with pytest.raises(AppendRefused):
            await broker.put(LEADER, b"b", expected_revision=wrong)
    second = await broker.put(LEADER, b"c", expected_revision=first)
    assert second > first
    assert await broker.put(LEADER, b"d") > second


async def test_keys_have_revisions_of_their_own(connect: Connect) -> None:
    broker = await connect()
    first = await broker.put(LEADER, b"a", expected_revision=0)
    await broker.put(lease_subject("w"), b"", expected_revision=0)
    assert await broker.put(LEADER, b"b", expected_revision=first) > first


async def test_of_several_who_claim_a_key_one_gets_it(connect: Connect) -> None:
    brokers = [await connect() for _ in range(5)]
    claims = await asyncio.gather(
        *(broker.put(LEADER, b"%d" % at, expected_revision=0) for at, broker in enumerate(brokers)),
        return_exceptions=True,
    )
    refused = [claim for claim in claims if isinstance(claim, AppendRefused)]
    assert len(refused) == len(claims) - 1


async def test_who_follows_is_told_of_every_key_and_of_each_change(connect: Connect) -> None:
    broker, other = await connect(), await connect()
    await broker.put(LEADER, b"old")
    await broker.put(lease_subject("w"), b"lives")
    await broker.put(LEADER, b"new")
    following = await other.follow(LEASES_STREAM, after=None, may_rewind=True)
    told = dict[str, bytes]()
    await _hear(following, told, {LEADER: b"new", lease_subject("w"): b"lives"})
    await broker.put(LEADER, b"newer")
    await _hear(following, told, {LEADER: b"newer", lease_subject("w"): b"lives"})
    await following.close()


async def test_who_read_last_what_was_replaced_since_is_told_of_every_key(connect: Connect) -> None:
    """As nearly always after a connection was lost, since leases are renewed all the time."""
    broker, told = await connect(), dict[str, bytes]()
    await broker.put(LEADER, b"w")
    await broker.put(lease_subject("w"), b"lives")
    before = await broker.follow(LEASES_STREAM, after=None, may_rewind=True)
    last = await _hear(before, told, {LEADER: b"w", lease_subject("w"): b"lives"})
    await before.close()
    await broker.put(lease_subject("w"), b"lives still")
    following = await broker.follow(LEASES_STREAM, after=last, may_rewind=True)
    await _hear(following, {}, {LEADER: b"w", lease_subject("w"): b"lives still"})
    await following.close()


async def test_a_value_that_lasts_for_a_time_is_there_at_first(connect: Connect) -> None:
    broker = await connect()
    await broker.put(lease_subject("w"), b"lives", lasts_s=60)
    following = await broker.follow(LEASES_STREAM, after=None, may_rewind=True)
    await _hear(following, {}, {lease_subject("w"): b"lives"})
    await following.close()


async def _hear(
    following: Following, told: dict[str, bytes], wanted: dict[str, bytes]
) -> StoredMessage:
    """Listen until the newest values are as wanted; give the message that makes them so."""
    async with asyncio.timeout(DEADLINE_S):
        async for messages in following:
            for message in messages:
                told[message.subject] = message.data
            if told == wanted:
                return messages[-1]
    raise AssertionError("it ended")
