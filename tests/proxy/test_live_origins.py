"""Which pages may watch: a browser names the origin of the page that asks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.proxy.live_wallet import run_live_wallet

pytestmark = pytest.mark.server

DEADLINE_S = 30.0


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 101),
        ("same", 101),
        ("https://shop.example", 101),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("", 403),
    ],
)
async def test_pages_of_strange_origins_may_not_watch(
    tmp_path: Path, origin: str | None, status: int
) -> None:
    origins = ["https://shop.example"]
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path, origins=origins) as wallet:
        headers = {} if origin is None else {"Origin": wallet.url if origin == "same" else origin}
        try:
            async with wallet.socket(headers=headers) as client:
                assert (await client.subscribe("ann"))["type"] == "state"
                got = 101
        except aiohttp.WSServerHandshakeError as refusal:
            got = refusal.status
        assert got == status
        async with wallet.client.get("/wallet/accounts/ann/events", headers=headers) as answer:
            assert answer.status == (200 if status == 101 else 403)


EVENTS = "/wallet/accounts/ann/events"
PICTURES = "/wallet/status/events"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", EVENTS, 200),
        ("HEAD", EVENTS, 200),
        ("GET", PICTURES, 200),
        ("HEAD", PICTURES, 200),
        ("GET", f"{EVENTS}?from_sequence=x", 400),
        ("GET", f"{PICTURES}?x=1", 400),
        ("GET", "/wallet/accounts/nobody/events", 404),
        ("POST", EVENTS, 405),
        ("DELETE", PICTURES, 405),
    ],
)
async def test_pages_of_allowed_origins_and_no_others_may_read_events_and_problems(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    """Without what their browser keeps of its user."""
    origins = ["https://shop.example", "https://app.example"]
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path, origins=origins) as wallet:
        for origin in (*origins, wallet.url, None, "https://evil.example", "null"):
            headers = {} if origin is None else {"Origin": origin}
            async with wallet.client.request(method, path, headers=headers) as answer:
                assert answer.headers.getall("Vary") == ["Origin"]
                allowed = answer.headers.getall("Access-Control-Allow-Origin", [])
                assert allowed == ([origin] if origin in origins else [])
                assert "Access-Control-Allow-Credentials" not in answer.headers
                if origin in (*origins, wallet.url, None):
                    assert answer.status == status


@pytest.mark.parametrize(
    ("path", "is_shared"),
    [(EVENTS, True), (PICTURES, True), ("/wallet/accounts/ann", False), ("/console", False)],
)
async def test_pages_of_allowed_origins_may_read_that_they_call_by_a_strange_name(
    tmp_path: Path,
    path: str,
    is_shared: bool,  # noqa: FBT001 # drawn
) -> None:
    """Only what they might have watched, and a page that the name is led from is none of them."""
    origins = ["https://shop.example"]
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path, origins=origins) as wallet:
        for origin in (*origins, "http://wallet.example"):
            headers = {"Origin": origin, "Host": "wallet.example"}
            async with wallet.client.get(path, headers=headers) as answer:
                assert answer.status == 421
                assert answer.headers.getall("Vary", []) == ["Origin"] * is_shared
                allowed = answer.headers.getall("Access-Control-Allow-Origin", [])
                assert allowed == [origin] * (is_shared and origin in origins)


async def test_a_page_of_an_allowed_origin_comes_back_behind_its_last_event(tmp_path: Path) -> None:
    origins = ["https://shop.example"]
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path, origins=origins) as wallet:
        place = await wallet.pay("ann", "t1")
        missed = await wallet.pay("ann", "t2")
        headers = {"Origin": origins[0], "Last-Event-ID": str(place)}
        async with wallet.client.get(EVENTS, headers=headers) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == origins[0]
            assert await answer.content.readline() == f"id: {missed}\n".encode()


async def test_pages_of_other_origins_may_watch_and_nothing_else(tmp_path: Path) -> None:
    """A browser lets them read no plain answer, and sends no JSON that it was not let send."""
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    origins = ["https://shop.example"]
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path, origins=origins) as wallet:
        for method, path in (("GET", "/wallet/accounts/ann"), ("OPTIONS", "/wallet/transfer")):
            async with wallet.client.request(method, path, headers=headers) as answer:
                assert not [name for name in answer.headers if name.startswith("Access-Control")]
