"""Clients that read slowly, nothing or not even pings, over WebSocket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.adapters import live_outflow, live_websocket
from proxy.adapters.http_server import HttpLimits
from proxy.adapters.live_outflow import Outflow
from proxy.adapters.live_websocket import WebSocketListener, websocket_frame
from tests.proxy.live_wallet import LiveWallet, Socket, run_live_wallet
from tests.proxy.world import running

pytestmark = pytest.mark.server

DEADLINE_S = 30.0


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[LiveWallet]:
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path) as live:
        yield live


class SlowSocket:
    """A client that reads from its connection only when it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def say(self, **message: Any) -> None:
        text = orjson.dumps(message)
        assert len(text) < 126
        self._writer.write(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)

    def pong(self) -> None:
        self._writer.write(b"\x8a\x80\x00\x00\x00\x00")

    async def hear(self) -> tuple[int, bytes]:
        """The kind of the next frame, and what is in it."""
        async with asyncio.timeout(10):
            kind, size = await self._reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self._reader.readexactly(2), "big")
            return kind & 15, await self._reader.readexactly(size)

    async def hear_message(self) -> dict[str, Any]:
        kind, data = await self.hear()
        while kind == 9:  # a ping
            kind, data = await self.hear()
        assert kind == 1, (kind, data)
        message: dict[str, Any] = orjson.loads(data)
        return message


@asynccontextmanager
async def slow_socket(wallet: LiveWallet) -> AsyncIterator[SlowSocket]:
    """The kernel's buffers are small, so that what it does not read is soon the server's."""
    wallet.use_small_buffers()
    host, port = wallet.url.removeprefix("http://").split(":")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    plain.setblocking(False)  # noqa: FBT003  # its own name
    await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=plain, limit=2_048)
    writer.write(
        b"GET /wallet/subscribe HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    try:
        yield SlowSocket(reader, writer)
    finally:
        writer.close()


async def test_who_reads_too_slowly_gets_the_newest_and_is_told_so(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that watches the same is told all of it."""
    monkeypatch.setattr(live_outflow, "OUTFLOW_BYTES_MAX", 2_000)
    monkeypatch.setattr(live_outflow, "OUTFLOW_NEWS_MAX", 20)
    async with slow_socket(wallet) as slow, wallet.socket() as quick:
        await quick.subscribe("ann")
        slow.say(op="subscribe", accounts=["ann"])
        told: list[dict[str, Any]] = []
        await pay_until_full(wallet, quick, told)
        heard = [await slow.hear_message()]
        while heard[-1]["sequence"] < told[-1]["sequence"]:
            heard.append(await slow.hear_message())
    by_sequence = {each["sequence"]: each for each in told}
    assert list(by_sequence) == sorted(by_sequence)
    assert not any(each["conflated"] for each in told)
    assert heard[0]["type"] == "state"
    assert any(each["conflated"] for each in heard)
    for before, after in pairwise(heard):
        same = by_sequence[after["sequence"]]
        skipped = [at for at in by_sequence if before["sequence"] < at < after["sequence"]]
        assert after == same | {"conflated": bool(skipped)}


async def test_what_waits_for_room_is_told_whole_while_it_is_not_too_much(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when much is replayed to who comes back."""
    monkeypatch.setattr(live_outflow, "OUTFLOW_BYTES_MAX", 2_000)
    paused: list[Outflow] = []
    original = Outflow.pause

    def pause(outflow: Outflow) -> None:
        paused.append(outflow)
        original(outflow)

    monkeypatch.setattr(Outflow, "pause", pause)
    for at in range(0, 900, 100):
        await asyncio.gather(*(wallet.pay("ann", f"t{at + n}", "0.01") for n in range(100)))
    async with slow_socket(wallet) as slow:
        slow.say(op="subscribe", accounts=["ann"], from_sequence={"ann": 1})
        heard = [await slow.hear_message() for _ in range(901)]
    assert paused, "there was room all the time"
    assert [each["type"] for each in heard] == ["change"] * 900 + ["state"]
    assert not any(each["conflated"] for each in heard)
    assert [each["balance"] for each in heard[:900]] == [f"{n / 100:.2f}" for n in range(1, 901)]


async def pay_until_full(wallet: LiveWallet, quick: Socket, told: list[dict[str, Any]]) -> None:
    """Pay until a connection takes no more, and then some."""
    paused = asyncio.Event()
    original = Outflow.pause

    def pause(outflow: Outflow) -> None:
        original(outflow)
        paused.set()

    more = 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outflow, "pause", pause)
        while more:
            more -= paused.is_set()
            number = len(told)
            await asyncio.gather(*(wallet.pay("ann", f"t{number + n}", "0.01") for n in range(100)))
            told += [await quick.hear() for _ in range(100)]


async def test_who_reads_nothing_for_long_is_cut_off_and_told_why(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_outflow, "OUTFLOW_BYTES_MAX", 2_000)
    monkeypatch.setattr(live_outflow, "STUCK_S", 0.01)
    cut = asyncio.Event()
    original = WebSocketListener.close

    def close(listener: WebSocketListener) -> None:
        original(listener)
        cut.set()

    monkeypatch.setattr(WebSocketListener, "close", close)
    async with slow_socket(wallet) as slow:
        slow.say(op="subscribe", accounts=["ann"])
        number = 0
        while not cut.is_set():
            number += 1
            await asyncio.gather(*(wallet.pay("ann", f"t{number}-{n}", "0.01") for n in range(100)))
        kind, data = await slow.hear()
        heard = []
        while kind == 1:
            heard.append(orjson.loads(data)["sequence"])
            kind, data = await slow.hear()
    assert (kind, data[:2]) == (8, (4_008).to_bytes(2, "big"))
    assert b"from_sequence" in data
    assert heard == sorted(set(heard))


class _Paused(asyncio.Protocol):
    """A connection of the server's, whose client reads nothing."""

    def __init__(self) -> None:
        self.is_paused = False
        self.outflow: asyncio.Future[Outflow] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.outflow.set_result(Outflow(transport, websocket_frame, transport.close))

    def pause_writing(self) -> None:
        self.is_paused = True


async def test_the_kernel_keeps_little_of_what_is_not_read() -> None:
    """Else a ping waits behind it for longer than its answer may take, and so does the newest."""
    loop, served = asyncio.get_running_loop(), _Paused()
    server = await loop.create_server(lambda: served, "127.0.0.1", 0)
    block, sent = bytes(4_096), 0
    async with server, asyncio.timeout(DEADLINE_S):
        with socket.create_connection(server.sockets[0].getsockname()):
            outflow = await served.outflow
            while not served.is_paused:
                outflow.send(block)
                sent += len(block)
                await asyncio.sleep(0)
            outflow.close()
    assert sent < 1_024 * 1_024


async def test_a_quiet_connection_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on idle connections is for those that wait for a request."""
    monkeypatch.setattr(live_websocket, "HEARTBEAT_S", 1.0)
    limits = HttpLimits(idle_timeout_s=0.1)
    async with (
        asyncio.timeout(DEADLINE_S),
        run_live_wallet(tmp_path, limits=limits) as wallet,
        slow_socket(wallet) as client,
    ):
        client.say(op="subscribe", accounts=["ann"])
        assert (await client.hear_message())["type"] == "state"
        for _ in range(2):
            assert await client.hear() == (9, b"")
            client.pong()
        await wallet.pay("ann", "t1")
        assert (await client.hear_message())["type"] == "change"


async def test_a_connection_that_answers_no_ping_is_ended(
    wallet: LiveWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_websocket, "HEARTBEAT_S", 0.1)
    async with slow_socket(wallet) as client:
        assert await client.hear() == (9, b"")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.hear_message()


async def test_a_flood_of_messages_lets_others_have_their_turns(wallet: LiveWallet) -> None:
    """Much of it arrives at once, and all of that could be answered in one turn of the loop."""
    messages, turns = 2_000, 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with wallet.socket() as client, running(count()):
        for _ in range(messages):
            await client.say(op="ping")
        for _ in range(messages):
            await client.hear()
        assert turns >= messages
