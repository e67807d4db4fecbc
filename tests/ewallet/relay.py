"""A line between clients and a server that can be cut, at any byte, and go silent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Forwards TCP connections to `target`; `url` is where clients find it."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.url = ""
        self.accepted = 0
        self.cut_after = -1
        """Cut the next connection when it has brought so many bytes to its client; -1: don't."""
        self.is_silent = False
        """What servers send is kept from clients."""
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Reset all connections, as a dead process does."""
        for writer in self._writers:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until either side ends it."""
        self.accepted += 1
        cut_after, self.cut_after = self.cut_after, -1
        host, port = self.target.removeprefix("http://").split(":")
        try:
            with suppress(ConnectionError):
                there, back = await asyncio.open_connection(host, int(port))
                await self._join(reader, writer, there, back, cut_after)
        finally:
            writer.transport.abort()

    async def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        cut_after: int,
    ) -> None:
        self._writers |= {writer, back}
        up = asyncio.create_task(_forward(reader, back))
        try:
            await self._bring(there, writer, cut_after)
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
            self._writers -= {writer, back}
            back.transport.abort()

    async def _bring(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut_after: int
    ) -> None:
        while data := await reader.read(4_096):
            if 0 <= cut_after <= len(data):
                writer.write(data[:cut_after])
                await writer.drain()
                return
            cut_after -= len(data) if cut_after > 0 else 0
            if not self.is_silent:
                writer.write(data)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4_096):
        writer.write(data)
    writer.write_eof()


@asynccontextmanager
async def run_relay(target: str) -> AsyncIterator[Relay]:
    """A relay on a free port of the loopback."""
    relay = Relay(target)
    server = await asyncio.start_server(relay.carry, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    relay.url = f"http://{host}:{port}"
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        await server.wait_closed()
