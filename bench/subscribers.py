"""`python -m bench.subscribers <url> <ids file>`: connections that watch an account each.

A process of its own, so that the load does not wait for it. It says `connected <seconds>` once
every connection has been told how its account stands. Told `begin` on standard input it counts
changes, and told `end` it says what it counted as JSON; at the end of the input it leaves.

A transfer's id begins with the time at which it was due, in nanoseconds of the clock that all
processes of a machine share. So a change is as old as a client would find it that wanted to pay at
that time, also where the wallet kept the load's clients from sending in time.
"""

import asyncio
import json
import sys
import time
from array import array
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import orjson
import uvloop

CONNECTING = 100
"""Connections that are opened at a time."""
_HEAD_END = b"\r\n\r\n"
_TEXT, _PING, _CLOSE = 1, 9, 8
_PONG = b"\x8a\x80\x00\x00\x00\x00"


def name_of(due_ns: int, number: int) -> str:
    """Return the id of a transfer that is due at a time."""
    return f"{due_ns}-{number}"


def due_ns(transaction_id: str) -> int:
    """Return when a transfer was due, from its id."""
    return int(transaction_id.partition("-")[0])


def percentile(values: list[float], share: float) -> float:
    """Return the value that a share of all is not above; 0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def split_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Split what a server sent into (kind, content) of whole frames, and the rest."""
    frames, at = [], 0
    while len(data) - at >= 2:
        size, head = data[at + 1], 2
        if size == 126:
            size, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
        if len(data) - at < head + size:
            break
        frames.append((data[at] & 15, data[at + head : at + head + size]))
        at += head + size
    return frames, data[at:]


class Counts:
    """What all connections heard since `begin`."""

    def __init__(self) -> None:
        self.states = 0
        self.ages_ms = array("d")
        self.conflated = 0
        self.lost = 0

    def begin(self) -> None:
        """Forget the changes that were counted."""
        self.ages_ms, self.conflated = array("d"), 0

    def report(self) -> str:
        """Return what was counted."""
        ages = list(self.ages_ms)
        return json.dumps(
            {
                "changes": len(ages),
                "p50_ms": percentile(ages, 0.5),
                "p99_ms": percentile(ages, 0.99),
                "max_ms": max(ages, default=0.0),
                "conflated": self.conflated,
                "lost_connections": self.lost,
            }
        )


class Subscriber(asyncio.Protocol):
    """One connection."""

    def __init__(self, account_id: str, counts: Counts) -> None:
        self._account_id = account_id
        self._counts = counts
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""
        self._is_open = False
        self.stands = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = writing = cast(asyncio.WriteTransport, transport)
        writing.write(
            b"GET /wallet/subscribe HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        text = orjson.dumps({"op": "subscribe", "accounts": [self._account_id]})
        writing.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._is_open:
            head, found, data = data.partition(_HEAD_END)
            if not found:
                self._rest = head
                return
            self._is_open = True
        frames, self._rest = split_frames(data)
        now_ns = time.monotonic_ns()
        for kind, content in frames:
            self._take(kind, content, now_ns)

    def connection_lost(self, _: Exception | None) -> None:
        self._counts.lost += 1
        if not self.stands.done():
            self.stands.set_exception(ConnectionError("closed before anything was told"))

    def _take(self, kind: int, content: bytes, now_ns: int) -> None:
        if kind == _PING and self._transport is not None:
            self._transport.write(_PONG)
        if kind != _TEXT:
            return
        message = orjson.loads(content)
        if message["type"] == "state" and not self.stands.done():
            self._counts.states += 1
            self.stands.set_result(None)
        if message["type"] == "change":
            self._counts.conflated += message["conflated"]
            self._counts.ages_ms.append((now_ns - due_ns(message["transaction_id"])) / 1e6)


async def run(url: str, ids: list[str]) -> None:
    """Connect all, then do what the input says."""
    loop, counts, address = asyncio.get_running_loop(), Counts(), urlsplit(url)
    started = time.monotonic()
    room = asyncio.Semaphore(CONNECTING)

    async def connect(account_id: str) -> None:
        async with room:
            _, subscriber = await loop.create_connection(
                lambda: Subscriber(account_id, counts), str(address.hostname), address.port or 80
            )
            await subscriber.stands

    await asyncio.gather(*(connect(account_id) for account_id in ids))
    print(f"connected {time.monotonic() - started:.3f}", flush=True)
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async for order in orders:
        if order == b"begin\n":
            counts.begin()
        else:
            print(counts.report(), flush=True)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], Path(sys.argv[2]).read_text().split()))
