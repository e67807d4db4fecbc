"""The picture of the wallet over Server-Sent Events, with real parts behind the edge."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from contracts.status import ProxyStatus, WriterStatus, encode_status
from contracts.subjects import status_subject
from proxy.adapters.live_status_stream import PictureFeed, PictureListener
from proxy.core.pace import Pace
from tests.proxy.conftest import Wallet
from tests.proxy.described import check_described
from tests.proxy.live_wallet import LiveWallet, run_live_wallet

pytestmark = pytest.mark.server


async def next_picture(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The next one; it must be as described."""
    async with asyncio.timeout(10):
        while (line := await answer.content.readline()) != b"event: picture\n":
            assert line.strip() == b""
        data = (await answer.content.readline()).removeprefix(b"data: ")
    picture: dict[str, Any] = orjson.loads(data)
    check_described("/wallet/status/events", picture)
    return picture


async def serve_status(wallet: LiveWallet, pace: Pace) -> None:
    """Answer as the processes do."""

    async def of_proxy(_: bytes) -> bytes:
        counts = list(pace.latency_counts)
        return encode_status(ProxyStatus("proxy", pace.completed, pace.refused, counts))

    async def of_writer(_: bytes) -> bytes:
        return encode_status(WriterStatus(id="w", partitions=[], coordinators=[]))

    connection = wallet.world.server.connect()
    await connection.serve(status_subject("proxy"), of_proxy)
    await connection.serve(status_subject("writer"), of_writer)


async def test_who_looks_is_shown_one_picture_after_the_other(tmp_path: Path) -> None:
    async with run_live_wallet(tmp_path) as wallet:
        await serve_status(wallet, wallet.gateway.pace)
        async with wallet.client.get("/wallet/status/events") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            first = await next_picture(answer)
            assert first["pace"] is None
            await wallet.pay("ann", "t1")
            second = await next_picture(answer)
            while second["pace"]["completed_per_s"] == 0:  # asked before the transfer was done
                second = await next_picture(answer)
            assert second["pace"]["latency_p99_ms"] > 0
            assert second["unfinished"]["count"] == 0
            assert len(second["overview"]["partitions"]) == 1


async def test_nobody_is_asked_while_nobody_looks() -> None:
    looks, looked = 0, asyncio.Event()

    async def look() -> Any:
        nonlocal looks
        looks += 1
        looked.set()
        return {}

    feed = PictureFeed(look)
    peers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, peer: peers.append(peer), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert looks == 0
    for visit in (1, 2):
        listener = PictureListener(writer.transport, [])
        serving = asyncio.create_task(feed.serve(listener))
        async with asyncio.timeout(10):
            await looked.wait()
        looked.clear()
        assert feed.is_looking
        assert looks == visit
        listener.close()
        await serving
        assert not feed.is_looking
    for end in (writer, *peers):
        end.close()
        await end.wait_closed()
    server.close()
    await server.wait_closed()


async def test_a_reader_that_is_away_keeps_no_picture_back(wallet: Wallet) -> None:
    wallet.gateway.missing_readers = {0}
    async with wallet.client.get("/wallet/status/events") as answer:
        picture = await next_picture(answer)
    assert picture["unfinished"] is None
    assert picture["overview"]["partitions"][0]["readers"] == []


async def test_pages_of_other_hosts_are_refused(tmp_path: Path) -> None:
    async with run_live_wallet(tmp_path) as wallet:
        headers = {"Origin": "https://elsewhere.example"}
        async with wallet.client.get("/wallet/status/events", headers=headers) as answer:
            assert answer.status == 403
