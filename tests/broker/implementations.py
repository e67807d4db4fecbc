"""The implementations of the broker port, each on a fresh server of its own.

A new one joins by a line in IMPLEMENTATIONS: a context manager that gives a way to connect.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from broker.memory_broker import MemoryServer
from broker.nats_broker import NatsBroker
from broker.port import Broker, BrokerFault

DEADLINE_S: Final = 10.0

Connect = Callable[[], Awaitable[Broker]]


@asynccontextmanager
async def in_memory(_folder: Path) -> AsyncIterator[Connect]:
    times = count(1_700_000_000_000_000_000)
    server = MemoryServer(lambda: next(times))

    async def connect() -> Broker:
        return server.connect()

    yield connect


class _Breeze:
    """Everything takes a little; nothing gets lost."""

    def __init__(self) -> None:
        self._chance = Random(3)

    def hop_s(self) -> float:
        return self._chance.random() / 1_000

    def disk_s(self) -> float:
        return self._chance.random() / 10_000

    def copies_s(self) -> Sequence[float]:
        return (0.0,)

    def loses_acknowledgement(self) -> bool:
        return False

    def survivors(self, count: int) -> int:
        return count

    def queue_survivors(self, count: int) -> int:
        return count


@asynccontextmanager
async def in_weather(_folder: Path) -> AsyncIterator[Connect]:
    """The broker in memory as the simulation uses it, over a network that takes its time."""
    times = count(1_700_000_000_000_000_000)
    server = MemoryServer(lambda: next(times), _Breeze())

    async def connect() -> Broker:
        return server.connect()

    yield connect


@asynccontextmanager
async def over_nats(folder: Path) -> AsyncIterator[Connect]:
    binary = Path(sys.executable).parent / "nats-server"
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(  # noqa: ASYNC220  # starts at once
        [binary, "-js", "-sd", folder, "-a", "127.0.0.1", "-p", str(port)],
        stderr=subprocess.DEVNULL,
    )

    async def connect() -> NatsBroker:
        return await NatsBroker.connect(f"nats://127.0.0.1:{port}", name="test", role="test")

    try:
        await (await _when_there(connect)).close()
        yield connect
    finally:
        server.terminate()
        server.wait(DEADLINE_S)


async def _when_there(connect: Callable[[], Awaitable[NatsBroker]]) -> NatsBroker:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await connect()
            except BrokerFault:
                await asyncio.sleep(0.02)


Implementation = Callable[[Path], AbstractAsyncContextManager[Connect]]

IMPLEMENTATIONS: Final[dict[str, Implementation]] = {
    "memory": in_memory,
    "weather": in_weather,
    "nats": over_nats,
}


async def blocks_of(broker: Broker, party: int, sequence: int) -> list[bytes]:
    """A whole snapshot."""
    return [block async for block in broker.snapshot(party, sequence)]
