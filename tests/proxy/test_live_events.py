"""Watching an account over Server-Sent Events, with real parts behind the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from yarl import URL

from proxy.adapters import live_event_stream
from tests.proxy.described import check_described
from tests.proxy.live_wallet import LiveWallet, run_live_wallet

pytestmark = pytest.mark.server

DEADLINE_S = 30.0


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[LiveWallet]:
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path) as live:
        yield live


async def read_event(answer: aiohttp.ClientResponse) -> tuple[str, int, dict[str, Any]]:
    """Kind, id and message of the next event, which must be as described; comments are skipped."""
    fields: dict[str, str] = {}
    async with asyncio.timeout(10):
        while "data" not in fields:
            fields = {}
            while line := (await answer.content.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
    message = orjson.loads(fields["data"])
    check_described("/wallet/accounts/{account_id}/events", message)
    return fields["event"], int(fields["id"]), message


EVENTS = "/wallet/accounts/ann/events"


async def test_events_begin_with_the_present_state(wallet: LiveWallet) -> None:
    async with wallet.client.get(EVENTS) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        kind, number, state = await read_event(answer)
        assert (kind, number, state["balance"]) == ("state", state["sequence"], "0.00")
        sequence = await wallet.pay("ann", "t1", "3.00")
        kind, number, change = await read_event(answer)
        assert (kind, number, change["balance"]) == ("change", sequence, "3.00")


@pytest.mark.parametrize("place", ["header", "query"])
async def test_events_go_on_where_the_last_one_was(wallet: LiveWallet, place: str) -> None:
    first = await wallet.pay("ann", "t1")
    second = await wallet.pay("ann", "t2")
    header = {"Last-Event-ID": str(first)} if place == "header" else {}
    query = {"from_sequence": str(first)} if place == "query" else {"from_sequence": "1"}
    async with wallet.client.get(EVENTS, headers=header, params=query) as answer:
        kind, number, _ = await read_event(answer)
        assert (kind, number) == ("change", second)
        kind, number, state = await read_event(answer)
        assert (kind, state["balance"]) == ("state", "2.00")


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/wallet/accounts/nobody/events", {}, 404, "account_not_found"),
        ("/wallet/accounts/a%20b/events", {}, 400, "invalid_request"),
        (f"{EVENTS}?from_sequence=x", {}, 400, "invalid_request"),
        (EVENTS, {"Last-Event-ID": "-1"}, 400, "invalid_request"),
        ("/wallet/subscribe?x=1", {}, 400, "invalid_request"),
    ],
)
async def test_what_can_not_be_watched_is_a_problem(
    wallet: LiveWallet, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    url = URL(path, encoded=True)
    async with wallet.client.get(url, headers=headers) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (status, code)
    async with wallet.client.head(url, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")


async def test_a_head_of_events_ends(wallet: LiveWallet) -> None:
    """And its connection is there for the next request."""
    for _ in range(2):
        async with wallet.client.head(EVENTS) as answer:
            assert (answer.status, answer.headers["Content-Type"]) == (200, "text/event-stream")


async def test_comments_keep_events_alive(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_event_stream, "HEARTBEAT_S", 0.01)
    async with wallet.client.get(EVENTS) as answer:
        await read_event(answer)
        comments = [await answer.content.readline() for _ in range(6)]
    assert comments.count(b":\n") == 3


async def test_events_of_a_proxy_that_ends_end(wallet: LiveWallet) -> None:
    async with wallet.client.get(EVENTS) as answer:
        await read_event(answer)
        stopping = asyncio.create_task(wallet.runner.cleanup())
        rest = await answer.content.read()
        assert rest.endswith(b": the wallet is restarted\n\n")
        await stopping
