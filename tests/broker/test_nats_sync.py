"""Every server of a cluster must fsync before it acknowledges, also one that comes back later."""

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.nats_sync import ask_the_rest, check_sync_always
from broker.port import BrokerFault, BrokerUnfit
from ewallet.nats_binary import find_nats_server

pytestmark = pytest.mark.server

DEADLINE_S = 20.0


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@contextmanager
def server(folder: Path, sync_interval: str, address: str) -> Iterator[str]:
    """A nats-server; gives its monitoring address, which answers some time after the start."""
    conf = folder / f"{address}.conf"
    conf.write_text(
        f'listen: "{free_address()}"\nhttp: "{address}"\n'
        f'jetstream {{ store_dir: "{folder}/{address}", sync_interval: {sync_interval} }}\n'
    )
    process = subprocess.Popen([find_nats_server(None), "-c", conf], stderr=subprocess.DEVNULL)
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait(DEADLINE_S)


async def test_a_silent_server_is_asked_when_it_is_back(tmp_path: Path) -> None:
    here, away = free_address(), free_address()
    with server(tmp_path, "always", here) as url:
        await asyncio.wait_for(ask_the_rest([url]), DEADLINE_S)
        silent = await check_sync_always(f"{url}, http://{away}", replicas=2)
        assert silent == [f"http://{away}"]
        with server(tmp_path, "2m", away):
            with pytest.raises(BrokerUnfit, match=f"{away} runs without `sync_interval: always`"):
                await asyncio.wait_for(ask_the_rest(silent), DEADLINE_S)
            with pytest.raises(BrokerUnfit, match="runs without"):
                await check_sync_always(f"{url},http://{away}")


async def test_nobody_is_believed_unasked() -> None:
    with pytest.raises(BrokerFault, match="does not tell"):
        await check_sync_always(f"http://{free_address()}")
    with pytest.raises(BrokerUnfit, match="names 1 servers and EWALLET_REPLICAS is 3"):
        await check_sync_always(f"http://{free_address()}", replicas=3)


async def test_a_server_that_dies_while_it_answers_is_silent() -> None:
    """It is asked again when it is back; a writer goes on with the others."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    dying = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with dying:
        host, port = dying.sockets[0].getsockname()
        with pytest.raises(BrokerFault, match="does not tell"):
            await check_sync_always(f"http://{host}:{port}")
