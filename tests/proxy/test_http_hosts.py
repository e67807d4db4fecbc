"""A page whose name leads to a proxy for a while (DNS rebinding) can't use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.proxy.conftest import Wallet, run_wallet
from tests.proxy.live_wallet import run_live_wallet

pytestmark = pytest.mark.server

TRANSFER = {
    "from_account_id": "issuer",
    "to_account_id": "ann",
    "amount": "1.00",
    "currency": "USD",
    "transaction_id": "t1",
}


@pytest.fixture
async def wallet() -> AsyncIterator[Wallet]:
    async with run_wallet(hosts=["Wallet.Example", "proxy_1"]) as wallet:
        await wallet.open("issuer", overdraft="5")
        await wallet.open("ann")
        yield wallet


async def status_of(wallet: Wallet, host: str, path: str = "/wallet/accounts/ann") -> int:
    lines = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    return int((await wallet.exchange(lines.encode())).split()[1])


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost:8080",
        "127.0.0.1",
        "127.0.0.1:8080",
        "10.1.2.3:80",
        "[::1]",
        "[::1]:8080",
        "[FE80::1]:8080",
        "wallet.example",
        "WALLET.EXAMPLE:443",
        "proxy_1:8080",
        "",
    ],
)
async def test_it_answers_to_addresses_localhost_and_names_that_it_was_given(
    wallet: Wallet, host: str
) -> None:
    assert await status_of(wallet, host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "wallet.example.evil.example",
        "evil.wallet.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.1",
        "2130706433",
        "[::1].evil.example",
        "[evil]",
        "localhost:8080:8080",
        "user@localhost",
        "localhost/",
        ":8080",
    ],
)
async def test_it_answers_to_nothing_else_but_what_is_wrong(wallet: Wallet, host: str) -> None:
    body = json.dumps(TRANSFER).encode()
    submitted = wallet.gateway.submitted
    for method, path in (("GET", "/wallet/accounts/ann"), ("POST", "/wallet/transfer")):
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        sent = f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        answer = await wallet.exchange(sent)
        assert answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
        problem: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert (problem["status"], problem["code"]) == (421, "host_not_allowed")
        assert "EWALLET_HTTP_HOSTS" in problem["detail"]
    assert wallet.gateway.submitted == submitted


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://evil.example/wallet/accounts/ann", "localhost", 421),
        ("HTTP://evil.example:8080/wallet/accounts/ann", "127.0.0.1:8080", 421),
        ("http://localhost@evil.example/wallet/accounts/ann", "localhost", 421),
        ("http://evil.example?/wallet/accounts/ann", "localhost", 421),
        ("http://localhost:8080/wallet/accounts/ann", "evil.example", 200),
        ("http://Wallet.example/wallet/accounts/ann", "localhost", 200),
        ("http://[::1]:8080/wallet/accounts/ann", "localhost", 200),
        ("http://evil.example/readyz", "localhost", 200),
        ("//evil.example/wallet/accounts/ann", "localhost", 404),
    ],
)
async def test_a_name_in_the_target_counts_and_not_the_one_beside_it(
    wallet: Wallet, target: str, host: str, status: int
) -> None:
    """As HTTP demands (RFC 9112, section 3.2.2)."""
    assert await status_of(wallet, host, target) == status


async def test_a_page_is_from_where_its_request_calls(tmp_path: Path) -> None:
    """A header that does not count makes no page one of the wallet's own."""
    path = "/wallet/accounts/ann/events"
    async with run_live_wallet(tmp_path) as wallet:
        address = wallet.url.removeprefix("http://")
        for origin, status in ((wallet.url, "200"), ("http://evil.example", "403")):
            reader, writer = await asyncio.open_connection(*address.split(":"))
            head = f"HEAD {wallet.url}{path} HTTP/1.1\r\nHost: evil.example\r\nOrigin: {origin}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            async with asyncio.timeout(10):
                assert (await reader.read()).decode().split()[1] == status
            writer.close()


async def test_it_answers_to_who_calls_no_name_where_http_allows_it(wallet: Wallet) -> None:
    """No browser does that, and HTTP/1.1 does not allow it."""
    for version, status in (("1.0", b"200"), ("1.1", b"400")):
        sent = f"GET /wallet/accounts/ann HTTP/{version}\r\nConnection: close\r\n\r\n"
        assert (await wallet.exchange(sent.encode())).split()[1] == status


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_who_checks_its_health_may_call_it_as_it_likes(wallet: Wallet, path: str) -> None:
    assert await status_of(wallet, "pod-17.cluster.internal:8080", path) == 200


async def test_a_page_of_a_name_that_leads_here_may_not_watch(tmp_path: Path) -> None:
    """Though for its browser it is from here."""
    headers = {"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}
    async with run_live_wallet(tmp_path) as wallet:
        with pytest.raises(aiohttp.WSServerHandshakeError, match="421"):
            async with wallet.socket(headers=headers):
                pass
        for path in ("/wallet/accounts/ann/events", "/wallet/status/events", "/console"):
            async with wallet.client.get(path, headers=headers) as answer:
                assert answer.status == 421
