"""The gateway over the in-memory broker, with a real writer and a real reader behind it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

from broker.memory_broker import MemoryServer
from contracts.commands import Command, OpenAccount, Transfer
from contracts.frames import COMMAND_FRAME, CommandFrame
from contracts.parties import parties
from contracts.partitioning import SlotMap
from contracts.results import Result
from contracts.subjects import (
    queue_stream,
)
from proxy.service.gateway import BrokerGateway
from reader.bootstrap import serve_on
from runtime.settings import ServiceSettings
from writer.bootstrap import make_writers
from writer.core.idempotency import FINGERPRINT_KEY_BYTES

DEADLINE_S = 15.0
WAIT_MS = 8_000


class World:
    """A broker, and connections of each role."""

    def __init__(self, folder: Path, partition_count: int = 1) -> None:
        times = count(1_700_000_000_000_000_000, 1_000_000)
        self.server = MemoryServer(lambda: next(times))
        self.slots = SlotMap.even(partition_count)
        self.settings = ServiceSettings(
            nats_url="", nats_monitor_url="", partition_count=partition_count, data_dir=folder
        )
        (folder / "witness").mkdir(exist_ok=True)
        self.proxy_connection = self.server.connect()

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[BrokerGateway]:
        await self.proxy_connection.provide_streams(self.slots.partition_count)
        gateway = BrokerGateway(self.proxy_connection, "proxy", self.slots)
        async with running(gateway.run()):
            await asyncio.sleep(0)
            yield gateway

    @asynccontextmanager
    async def writer(self, *absent: int) -> AsyncIterator[None]:
        """The writer of all parties but those that are absent."""
        async with AsyncExitStack() as works:
            writers = make_writers(
                self.server.connect(),
                self.settings,
                self.slots,
                "w",
                works.enter_context(ExitStack()),
                led=set(parties(self.slots.partition_count)) - set(absent),
                fresh_key=lambda: b"k" * FINGERPRINT_KEY_BYTES,
            )
            for work in writers.works():
                await works.enter_async_context(running(work))
            yield

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[None]:
        stop, ready = asyncio.Event(), asyncio.Event()
        connection = self.server.connect()
        task = asyncio.create_task(serve_on(connection, self.settings, stop, ready.set))
        await ready.wait()
        yield
        stop.set()
        await task
        await connection.close()  # as its process would: what it served is gone

    def frames(self) -> list[CommandFrame]:
        """What was sent by the proxy."""
        messages = self.server.streams[queue_stream(0)].messages
        return [COMMAND_FRAME.decode(message.data) for message in messages]


@asynccontextmanager
async def running(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def opening(account_id: str) -> OpenAccount:
    return OpenAccount(account_id, "USD", 1_000)


def transfer(transaction_id: str, amount: int = 1) -> Transfer:
    return Transfer("a", "b", amount, "USD", transaction_id)


async def submit(gateway: BrokerGateway, *commands: Command) -> list[Result | None]:
    return await asyncio.gather(*(gateway.submit(each, wait_ms=WAIT_MS) for each in commands))


async def stored(world: World, times: int) -> None:
    """Return when so many command frames are in the queue."""
    stream = world.server.streams[queue_stream(0)]
    while len(stream.messages) < times:
        await stream.changed.wait()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
