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
