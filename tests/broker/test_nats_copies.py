"""A server that lost messages in the middle of a journal, and is content, is found out."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from broker.nats_broker import NatsBroker
from broker.nats_copies import Lack, lacks
from broker.port import BrokerFault, BrokerUnfit, Following
from contracts.subjects import journal_stream
from ewallet.nats_binary import find_nats_server
from tests.broker.implementations import DEADLINE_S
from tests.broker.test_nats_sync import free_address

pytestmark = pytest.mark.server

FRAMES = [b"one", b"two", b"three"]


@contextmanager
def server(store: Path) -> Iterator[tuple[str, str]]:
    """A nats-server on a store; gives its addresses for clients and for monitoring."""
    listen, monitor = free_address(), free_address()
    conf = store.parent / "again.conf"
    conf.write_text(
        f'listen: "{listen}"\nhttp: "{monitor}"\n'
        f'jetstream {{ store_dir: "{store}", sync_interval: always }}\n'
    )
    process = subprocess.Popen([find_nats_server(None), "-c", conf], stderr=subprocess.DEVNULL)
    try:
        yield f"nats://{listen}", f"http://{monitor}"
    finally:
        process.kill()
        process.wait(DEADLINE_S)


async def connected(url: str) -> NatsBroker:
    """Once the server is up."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(BrokerFault):
                return await NatsBroker.connect(url, name="test", role="reader")
            await asyncio.sleep(0.01)


async def read_on(following: Following, read: list[int]) -> None:
    async with asyncio.timeout(2 * DEADLINE_S):
        async for messages in following:
            read += [message.sequence for message in messages]


@pytest.mark.parametrize("lost", [1, 2])
async def test_nothing_behind_lost_messages_is_read_and_the_loss_is_told(
    tmp_path: Path, write_journal: Callable[..., None], lost: int
) -> None:
    store = tmp_path / "store"
    await asyncio.to_thread(
        write_journal, store, 0, FRAMES, settings={"deny_delete": False}, delete=lost
    )
    with server(store) as (url, monitor_url):
        broker = await connected(url)
        assert await lacks(monitor_url) == [Lack(monitor_url, journal_stream(0), 1)]
        following = await broker.follow(journal_stream(0), after=None)
        read: list[int] = []
        with pytest.raises(BrokerUnfit, match=f"messages {lost} to {lost} of EVT_0"):
            await read_on(following, read)
        assert read == list(range(1, lost))
        await following.close()
        await broker.close()


async def test_a_whole_journal_lacks_nothing(
    tmp_path: Path, write_journal: Callable[..., None]
) -> None:
    store = tmp_path / "store"
    await asyncio.to_thread(write_journal, store, 0, FRAMES)
    with server(store) as (url, monitor_url):
        broker = await connected(url)
        assert await lacks(monitor_url) == []
        await broker.close()


async def test_a_server_that_dies_while_it_answers_is_one_that_does_not_answer() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(OSError, match="IncompleteRead"):
            await lacks(f"http://{host}:{port}")
