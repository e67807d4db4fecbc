"""A client that watches a bank's accounts, comes back whenever it is cut off, and remembers."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.system.bank import ACCOUNTS, RETRY_S


@dataclass
class Watcher:
    """What it was told, in the order in which it was."""

    url: str
    begun: dict[str, int] = field(default_factory=dict)
    """By account the sequence of the first state."""
    places: dict[str, int] = field(default_factory=dict)
    """By account the last sequence that it was told."""
    changes: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    connections: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    reads: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: it leaves unread what comes."""
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Watch until cancelled."""
        self.reads.set()
        while True:
            with suppress(aiohttp.ClientError, ConnectionError):
                async with session.ws_connect(f"{self.url}/wallet/subscribe") as websocket:
                    await self._watch(websocket)
            await asyncio.sleep(RETRY_S)

    async def reach(self, places: dict[str, int]) -> None:
        """Return when it was told of all accounts as far as these sequences."""
        while any(self.places.get(name, 0) < at for name, at in places.items()):
            self.more.clear()
            await self.more.wait()

    async def _watch(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.connections += 1
        asked = {"op": "subscribe", "accounts": ACCOUNTS, "from_sequence": self.places}
        await websocket.send_str(orjson.dumps(asked).decode())
        async for message in websocket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._take(orjson.loads(message.data))
            await self.reads.wait()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "error":
            self.faults[message["code"]] += 1
            return
        account_id, sequence = message["account_id"], message["sequence"]
        self.faults["conflated"] += message["conflated"]
        self.faults["out of order"] += sequence < self.places.get(account_id, 0)
        if message["type"] == "change":
            self.faults["twice"] += sequence == self.places[account_id]
            self.changes.setdefault(account_id, []).append(message)
        self.begun.setdefault(account_id, sequence)
        self.places[account_id] = sequence
        self.more.set()
