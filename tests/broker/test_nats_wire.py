"""A connection that broke says so to who reads, and to nobody who sends.

Asked of both event loops: the services run on uvloop, which raises other errors than asyncio.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlparse

import pytest
import uvloop

from broker.nats_broker import NatsBroker
from broker.nats_wire import Wire
from broker.port import Disconnected
from tests.broker.implementations import DEADLINE_S

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket that is reset when it is closed, as by a process that is killed."""
INFO = b'INFO {"server_id":"s","version":"2.15.1","max_payload":1048576,"headers":true}\r\n'

Loop = Callable[[Callable[[], Awaitable[None]]], None]


def on_asyncio(work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner() as runner:
        runner.run(_bounded(work))


def on_uvloop(work: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_bounded(work))


async def _bounded(work: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(DEADLINE_S / 2):  # nats-py's flush waits for as long
        await work()


class Peer:
    """Speaks as much of the protocol as a connection needs, until it is reset."""

    def __init__(self) -> None:
        self.url = ""
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> asyncio.Server:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    def reset(self) -> None:
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        writer.write(INFO)
        try:
            while line := await reader.readline():
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.mark.server
@pytest.mark.parametrize("run", [on_asyncio, on_uvloop])
def test_who_writes_on_a_broken_connection_is_told_nothing(run: Loop) -> None:
    async def work() -> None:
        peer = Peer()
        wire: Any = Wire()  # nats-py leaves much of it untyped
        async with await peer.start():
            await wire.connect(urlparse(peer.url), 1_024, 1)
            assert await wire.readline() == INFO
            peer.reset()
            with pytest.raises(ConnectionResetError):
                await wire.read(1_024)
            for _ in range(3):
                wire.write(b"PUB a 0\r\n\r\n")
                await wire.drain()
            wire.close()

    run(work)


def test_before_it_is_connected_there_is_nothing_to_write_on() -> None:
    wire: Any = Wire()
    wire.writelines([b"PING\r\n"])
    wire.close()
    assert wire


@pytest.mark.server
@pytest.mark.parametrize("run", [on_asyncio, on_uvloop])
def test_a_connection_closes_though_it_broke_with_something_to_send(run: Loop) -> None:
    async def work() -> None:
        peer = Peer()
        async with await peer.start():
            broker = await NatsBroker.connect(peer.url, name="test", role="test")
            peer.reset()
            await broker.publish("a", b"")
            closed = asyncio.create_task(broker.closed())
            await broker.close()
            await closed

    run(work)


@pytest.mark.server
@pytest.mark.parametrize("run", [on_asyncio, on_uvloop])
def test_who_publishes_when_it_breaks_is_told_of_nothing_but_a_lost_connection(run: Loop) -> None:
    """An error of a write closes the transport; nats-py hears of it when it reads."""

    async def work() -> None:
        peer = Peer()
        async with await peer.start():
            broker = await NatsBroker.connect(peer.url, name="test", role="test")
            wire: Any = broker._client._transport  # noqa: SLF001  # no other way breaks it unnoticed
            wire._io_writer.transport.abort()  # noqa: SLF001
            for _ in range(5):
                with suppress(Disconnected):
                    await broker.publish("a", b"")
                await asyncio.sleep(0)
            await broker.close()

    run(work)
