"""A WebSocket server that answers each connection of a subscription from a script."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from ewallet.client import WalletClient
from ewallet.subscription import Subscription

DEADLINE_S = 30.0

Talk = Callable[["Socket"], Awaitable[None]]


class Socket:
    """The server's end of one connection."""

    def __init__(self, websocket: web.WebSocketResponse) -> None:
        self.websocket = websocket

    async def asked(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await self.websocket.receive_str())
        return message

    async def say(self, **message: Any) -> None:
        await self.websocket.send_str(json.dumps(message))

    async def state(self, sequence: int, balance: str = "0.00", **more: Any) -> None:
        await self.say(**{**account(sequence, balance), "type": "state", **more})

    async def change(self, sequence: int, balance: str, **more: Any) -> None:
        fields = {"type": "change", "transaction_id": f"t{sequence}", "direction": "credit"}
        await self.say(**{**account(sequence, balance), **fields, "amount": "1.00", **more})

    async def refuse(self, code: str) -> None:
        await self.say(type="error", code=code, title="", detail="Because.", account_id="ann")

    async def stay(self) -> None:
        """Until the client goes."""
        await self.websocket.receive()


class Server:
    """Each connection gets the next of its talks or HTTP statuses; the last again and again."""

    def __init__(self) -> None:
        self.url = ""
        self.script: list[Talk | int] = []
        self.connections = 0
        self.losses: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        talk = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(talk, int):
            return web.Response(status=talk)
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await talk(Socket(websocket))
        await websocket.close()
        return websocket


@asynccontextmanager
async def run_scripted_server() -> AsyncIterator[Server]:
    server = Server()
    application = web.Application()
    application.router.add_get("/wallet/subscribe", server.answer)
    async with TestServer(application, host="127.0.0.1") as running:
        server.url = str(running.make_url(""))
        yield server


def watch(server: Server, client: WalletClient) -> Subscription:
    return client.subscribe("ann", on_loss=server.losses.append)


def account(sequence: int, balance: str) -> dict[str, Any]:
    return {
        "account_id": "ann",
        "currency": "USD",
        "balance": balance,
        "held": "0.00",
        "available": balance,
        "overdraft_limit": "0.00",
        "partition": 0,
        "sequence": sequence,
        "at": "2026-01-02T03:04:05.000Z",
        "conflated": False,
        "of a newer wallet": True,
    }
