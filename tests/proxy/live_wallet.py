"""A wallet over the broker in memory whose accounts can be watched: all parts but NATS are real."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from contracts.coordination import Coordination
from proxy.adapters.http_server import HttpLimits, HttpServer, listen
from proxy.service.changes import BrokerWatches
from proxy.service.gateway import BrokerGateway
from tests.proxy.described import check_described
from tests.proxy.world import World, running


class LiveWallet:
    """A running proxy over a `World`, and a client of it."""

    def __init__(
        self,
        world: World,
        gateway: BrokerGateway,
        runner: web.ServerRunner,
        url: str,
        client: aiohttp.ClientSession,
    ) -> None:
        self.gateway = gateway
        self.world = world
        self.runner = runner
        self.url = url
        self.client = client

    async def open(self, account_id: str, overdraft: str = "0") -> None:
        form = {"currency": "USD", "overdraft_limit": overdraft}
        async with self.client.put(f"/wallet/accounts/{account_id}", json=form) as answer:
            assert answer.status == 201, await answer.text()

    async def pay(self, to: str, transaction_id: str, amount: str = "1.00", **more: str) -> int:
        """Pay from the issuer; give the sequence."""
        form = {
            "from_account_id": "issuer",
            "to_account_id": to,
            "amount": amount,
            "currency": "USD",
            "transaction_id": transaction_id,
        }
        headers = {"Wallet-Coordination": more["way"]} if "way" in more else {}
        async with self.client.post("/wallet/transfer", json=form, headers=headers) as answer:
            body = await answer.json()
            assert answer.status == 201, body
            return int(body["sequence"])

    def use_small_buffers(self) -> None:
        """Let the kernel keep little of what next clients don't read: it is soon the server's."""
        for site in self.runner.sites:
            assert isinstance(site, web.TCPSite)
            assert isinstance(site._server, asyncio.Server)  # noqa: SLF001  # no other way to its sockets
            for listening in site._server.sockets:  # noqa: SLF001  # see above
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)

    @asynccontextmanager
    async def socket(self, **options: Any) -> AsyncIterator[Socket]:
        async with self.client.ws_connect("/wallet/subscribe", **options) as websocket:
            yield Socket(websocket)


class Socket:
    """A WebSocket client."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.websocket = websocket

    async def say(self, **message: Any) -> None:
        await self.websocket.send_str(orjson.dumps(message).decode())

    async def hear(self) -> dict[str, Any]:
        """The next message, which must be as described."""
        async with asyncio.timeout(10):
            message: dict[str, Any] = orjson.loads(await self.websocket.receive_str())
        check_described("/wallet/subscribe", message)
        return message

    async def hear_of(self, *account_ids: str) -> dict[str, dict[str, Any]]:
        """One message of each."""
        messages = [await self.hear() for _ in account_ids]
        heard = {message["account_id"]: message for message in messages}
        assert set(heard) == set(account_ids), messages
        return heard

    async def subscribe(self, account_id: str, from_sequence: int | None = None) -> dict[str, Any]:
        places = {} if from_sequence is None else {"from_sequence": {account_id: from_sequence}}
        await self.say(op="subscribe", accounts=[account_id], **places)
        return await self.hear()


@asynccontextmanager
async def run_live_wallet(
    folder: Path, partition_count: int = 1, **options: Any
) -> AsyncIterator[LiveWallet]:
    """The accounts issuer (overdraft 1,000.00 USD), ann and bob."""
    world = World(folder, partition_count)
    async with (
        world.gateway() as gateway,
        world.reader(),
        world.writer(),
        serve_live(world, gateway, **options) as wallet,
    ):
        await wallet.open("issuer", "1000.00")
        await wallet.open("ann")
        await wallet.open("bob")
        yield wallet


@asynccontextmanager
async def serve_live(
    world: World, gateway: BrokerGateway, limits: HttpLimits | None = None, **options: Any
) -> AsyncIterator[LiveWallet]:
    watches = BrokerWatches(world.proxy_connection, "proxy", world.slots, gateway)
    server = HttpServer(gateway, watches, limits or HttpLimits(), Coordination.TCC, **options)
    runner = await listen(server, host="127.0.0.1", port=0)
    host, port = runner.addresses[0][:2]
    url = f"http://{host}:{port}"
    try:
        async with running(watches.run()), aiohttp.ClientSession(url) as client:
            yield LiveWallet(world, gateway, runner, url, client)
    finally:
        await runner.cleanup()
