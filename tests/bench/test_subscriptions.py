"""The parts of the benchmark of subscriptions that need no wallet."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bench import subscriptions
from bench.subscribers import Counts, due_ns, name_of, percentile, split_frames
from bench.subscriptions import Throughput, Watching, missed, pay_at, show
from proxy.adapters.live_websocket import websocket_frame


def test_a_transfers_id_says_when_it_was_due() -> None:
    assert due_ns(name_of(123_456_789, 17)) == 123_456_789


@pytest.mark.server
async def test_a_transfer_that_is_sent_late_is_as_old_as_it_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its change is late for who wanted to pay, though the only client was kept waiting."""
    monkeypatch.setattr(subscriptions, "LOAD_CLIENTS", 1)
    dues: list[int] = []

    async def take(request: web.Request) -> web.Response:
        dues.append(due_ns((await request.json())["transaction_id"]))
        if len(dues) == 2:
            await asyncio.sleep(0.2)
        return web.Response(status=201)

    application = web.Application()
    application.router.add_post("/wallet/transfer", take)
    async with TestServer(application, host="127.0.0.1") as server:
        assert await pay_at(str(server.make_url("")), ["a", "b"], 50, 1) == (50, 0)
    assert [due - dues[0] for due in dues] == [number * 20_000_000 for number in range(50)]


def test_percentiles_of_few_and_of_none() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_frames_are_split_wherever_they_are_cut() -> None:
    """They are those that the proxy makes."""
    messages = [b"short", b"x" * 125, b"y" * 126, b"z" * 3_000]
    data = b"".join(map(websocket_frame, messages))
    for cut in range(len(data)):
        frames, rest = split_frames(data[:cut])
        more, end = split_frames(rest + data[cut:])
        assert [content for _, content in frames + more] == messages
        assert end == b""


def test_what_was_heard_is_reported() -> None:
    counts = Counts()
    counts.ages_ms.extend([1.0, 2.0, 9.0])
    report = json.loads(counts.report())
    assert (report["changes"], report["p50_ms"], report["max_ms"]) == (3, 2.0, 9.0)
    counts.begin()
    assert json.loads(counts.report())["changes"] == 0


def test_the_share_is_that_of_rounds_and_not_of_medians() -> None:
    """A slow minute of the machine touches both sides of a round."""
    throughput = Throughput(without=[100.0, 50.0, 80.0], with_idle=[99.0, 49.0, 88.0], faults=0)
    assert throughput.share == 0.99
    text = show(replace(GOOD, changes=19, missing=1), throughput)
    assert "20.5 KB" in text
    assert "1 of 20 missing" in text
    assert "99.0%" in text


GOOD = Watching(
    connections=10_000,
    connect_seconds=60.0,
    bytes_per_connection=20_480.0,
    transfers_per_second=1_000.0,
    refused=0,
    changes=20,
    missing=0,
    p50_ms=1.0,
    p99_ms=50.0,
    max_ms=90.0,
    conflated=0,
)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, []),
        ({"connect_seconds": 60.1}, ["time to connect"]),
        ({"bytes_per_connection": 30_001.0}, ["memory per connection"]),
        ({"p99_ms": 50.1}, ["p99 of the ages"]),
        ({"missing": 1}, ["every change told"]),
        ({"refused": 1}, ["every transfer made"]),
    ],
)
def test_a_figure_beyond_its_bound_is_a_miss(changes: dict[str, Any], what: list[str]) -> None:
    watching = replace(GOOD, **changes)
    throughput = Throughput(without=[100.0], with_idle=[95.0], faults=0)
    assert missed(watching, throughput) == what
    assert [f"MISSED: {each}" for each in what] == show(watching, throughput).splitlines()[3:]


def test_so_are_transfers_that_idle_subscriptions_cost() -> None:
    slow = Throughput(without=[100.0], with_idle=[94.9], faults=0)
    assert missed(GOOD, slow) == ["transfers with idle subscriptions"]
    assert missed(GOOD, replace(slow, with_idle=[95.0], faults=1)) == ["every transfer made"]
