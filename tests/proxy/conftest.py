"""The real HTTP server, in front of a gateway that keeps its books in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from broker.memory_broker import MemoryServer
from contracts.coordination import Coordination
from contracts.partitioning import SlotMap
from proxy.adapters.http_server import HttpLimits, HttpServer, listen
from proxy.service.changes import BrokerWatches
from proxy.service.gateway import BrokerGateway
from tests.proxy.memory_gateway import MemoryGateway
from tests.proxy.world import DEADLINE_S, World


@dataclass
class Wallet:
    """A running HTTP server, its gateway and a client of it."""

    gateway: MemoryGateway
    host: str
    port: int
    client: aiohttp.ClientSession
    runner: web.ServerRunner

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def open(self, account_id: str, currency: str = "USD", overdraft: str = "0") -> None:
        """Open an account."""
        form = {"currency": currency, "overdraft_limit": overdraft}
        async with self.client.put(f"/wallet/accounts/{account_id}", json=form) as answer:
            assert answer.status == 201, await answer.text()

    async def transfer(self, transaction_id: str, amount: str, **other: Any) -> dict[str, Any]:
        """Make a transfer from issuer to ann unless told otherwise; give status, body, headers."""
        headers = other.pop("headers", {})
        form = {
            "from_account_id": "issuer",
            "to_account_id": "ann",
            "amount": amount,
            "currency": "USD",
            "transaction_id": transaction_id,
        } | other
        async with self.client.post("/wallet/transfer", json=form, headers=headers) as answer:
            body = await answer.json(content_type=None)
            return {"status": answer.status, "body": body, "headers": answer.headers}

    async def get(self, path: str, **options: Any) -> dict[str, Any]:
        """Read a JSON document; give status, body, headers."""
        async with self.client.get(path, **options) as answer:
            body = await answer.json(content_type=None)
            return {"status": answer.status, "body": body, "headers": answer.headers}

    async def exchange(self, sent: bytes) -> bytes:
        """Send raw bytes on a new connection; everything that comes until it is closed."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(sent)
            async with asyncio.timeout(10):
                return await reader.read()
        finally:
            writer.close()


def nobody_to_watch(slots: SlotMap) -> BrokerWatches:
    """Watches that no reader answers, for tests of other calls."""
    broker = MemoryServer(lambda: 1).connect()
    return BrokerWatches(broker, "proxy", slots, BrokerGateway(broker, "proxy", slots))


@asynccontextmanager
async def run_wallet(
    limits: HttpLimits | None = None, partition_count: int = 1, **options: Any
) -> AsyncIterator[Wallet]:
    """Serve a fresh wallet on a free port."""
    gateway = MemoryGateway(partition_count)
    server = HttpServer(
        gateway,
        nobody_to_watch(gateway.slots),
        limits or HttpLimits(),
        Coordination.CHOREOGRAPHY,
        gateway.books.now_ms,
        **options,
    )
    runner = await listen(server, host="127.0.0.1", port=0)
    host, port = runner.addresses[0][:2]
    try:
        async with aiohttp.ClientSession(f"http://{host}:{port}") as client:
            yield Wallet(gateway, host, port, client, runner)
    finally:
        await runner.cleanup()


@pytest.fixture
def open_wallet() -> Callable[..., Any]:
    """Give `run_wallet`, for limits of one's own."""
    return run_wallet


@pytest.fixture
async def wallet() -> AsyncIterator[Wallet]:
    """A wallet with the accounts issuer (overdraft 1,000.00 USD), ann and bob."""
    async with run_wallet() as served:
        await served.open("issuer", overdraft="1000.00")
        await served.open("ann")
        await served.open("bob")
        yield served


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    """Address of a wallet that is served from a thread, for clients that block.

    Its accounts issuer and ann live in different partitions.
    """
    loop = asyncio.new_event_loop()
    ready: list[str] = []
    started, ended = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with run_wallet(partition_count=2) as served:
            await served.open("issuer", overdraft="1000000.00")
            await served.open("ann")
            ready.append(served.url)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert started.wait(10), "the server did not start"
    yield ready[0]
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    loop.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A broker in memory with connections of each role, for one partition."""
    async with asyncio.timeout(DEADLINE_S):
        yield World(tmp_path)
