"""When the leader of a stream is asked whether it has more."""

import asyncio
from typing import Any

import pytest

from broker.nats_stillness import Stillness
from broker.port import NoResponse
from contracts.subjects import LEASES_STREAM

pytestmark = pytest.mark.virtual_time

NOTHING = {"error": {"code": 404, "err_code": 10037, "description": "no message found"}}


class Leader:
    """Of a stream in which nothing follows."""

    def __init__(self) -> None:
        self.answers = True

    async def api(
        self, verb: str, body: dict[str, Any] | None = None, *, timeout_s: float = 1.0
    ) -> dict[str, Any]:
        if not self.answers:
            raise NoResponse(f"no answer to {verb} {body} within {timeout_s} s")
        return NOTHING


async def asked_after_s(stillness: Stillness) -> float:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await stillness.lasts()
    assert not await stillness.hides_more(4)
    return round(loop.time() - began_s, 3)


@pytest.fixture
def leader() -> Leader:
    return Leader()


async def test_where_nothing_follows_it_is_asked_less_and_less_often(leader: Leader) -> None:
    stillness = Stillness(leader.api, "EVT_0")
    stillness.end(asyncio.get_running_loop().time())
    assert [await asked_after_s(stillness) for _ in range(6)] == [3, 6, 12, 24, 24, 24]


async def test_what_a_new_consumers_copy_lacks_is_asked_for_soon(leader: Leader) -> None:
    """Also if the one before was to be left alone for long."""
    loop = asyncio.get_running_loop()
    stillness = Stillness(leader.api, "EVT_0")
    stillness.begin(loop.time())
    assert [await asked_after_s(stillness) for _ in range(6)] == [1, 2, 4, 8, 16, 24]
    loop.call_later(10, lambda: stillness.begin(loop.time()))
    assert await asked_after_s(stillness) == 11


async def test_leases_are_missed_sooner_as_who_follows_them_renews_one(leader: Leader) -> None:
    loop = asyncio.get_running_loop()
    stillness = Stillness(leader.api, LEASES_STREAM)
    for begin in (stillness.begin, stillness.end):
        begin(loop.time())
        assert [await asked_after_s(stillness) for _ in range(3)] == [0.6, 1.2, 2.4]
    leader.answers = False
    stillness.end(loop.time())
    assert await asked_after_s(stillness) == 0.6


@pytest.mark.parametrize(("at_s", "missed_s"), [(0.5, 1.5), (9.5, 10.5), (10.5, 13.5)])
async def test_a_consumer_that_stops_is_missed_sooner_while_it_is_new(
    leader: Leader, at_s: float, missed_s: float
) -> None:
    """Copies are as they were before a fault only some time after it."""
    loop = asyncio.get_running_loop()
    stillness = Stillness(leader.api, "EVT_0")
    stillness.begin(loop.time())
    for each in range(int(2 * at_s)):
        loop.call_at(loop.time() + (each + 1) / 2, lambda: stillness.end(loop.time()))
    assert await asked_after_s(stillness) == missed_s


async def test_after_a_message_it_is_asked_soon_again(leader: Leader) -> None:
    """Also if it was to be left alone for long."""
    loop = asyncio.get_running_loop()
    stillness = Stillness(leader.api, "EVT_0")
    stillness.end(loop.time())
    for _ in range(4):
        await asked_after_s(stillness)
    loop.call_later(10, lambda: stillness.end(loop.time()))
    assert await asked_after_s(stillness) == 13


async def test_while_nobody_answers_it_is_asked_as_often_as_ever(leader: Leader) -> None:
    leader.answers = False
    stillness = Stillness(leader.api, "EVT_0")
    stillness.end(asyncio.get_running_loop().time())
    assert [await asked_after_s(stillness) for _ in range(3)] == [3, 3, 3]
    stillness.begin(asyncio.get_running_loop().time())
    assert [await asked_after_s(stillness) for _ in range(3)] == [1, 3, 3]
