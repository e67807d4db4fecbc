"""What a connection does that loses its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from broker.nats_broker import NatsBroker
from contracts.subjects import LEADER_ELECTED, journal_stream, queue_stream
from tests.broker.implementations import DEADLINE_S, over_nats
from tests.ewallet.relay import Relay, run_relay

pytestmark = pytest.mark.server

LOSSES = 8
CONNECTIONS = 20
"""A coin would have to fall on the same side so often."""
RETRY_S = 0.01


@asynccontextmanager
async def lines(folder: Path, count: int) -> AsyncIterator[list[Relay]]:
    """To one server that has a wallet's streams, as if to several."""
    async with over_nats(folder) as connect:
        direct = await connect()
        assert isinstance(direct, NatsBroker)
        await direct.provide_streams(1)
        address = direct._client.connected_url  # noqa: SLF001  # tests.broker knows no other way
        assert address is not None
        await direct.close()
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(run_relay(f"http://{address.netloc}"))
                for _ in range(count)
            ]


async def connected(relays: list[Relay]) -> NatsBroker:
    urls = ",".join(each.url.replace("http", "nats") for each in relays)
    return await NatsBroker.connect(urls, name="test", role="test")


async def test_a_server_that_was_lost_is_not_tried_before_another(tmp_path: Path) -> None:
    """One that is paused or cut off answers nothing, and each try takes seconds."""
    async with lines(tmp_path, 2) as relays:
        broker = await connected(relays)
        used, spare = sorted(relays, key=lambda each: -each.accepted)
        for _ in range(LOSSES):
            await lose(used, spare)
            used, spare = spare, used
        await broker.close()


async def test_connections_are_spread_over_the_servers(tmp_path: Path) -> None:
    async with lines(tmp_path, 2) as relays:
        for _ in range(CONNECTIONS):
            await (await connected(relays)).close()
        assert all(each.accepted for each in relays)


async def lose(used: Relay, spare: Relay) -> None:
    """Cut the line in use and keep it silent until the other one is."""
    tried, taken = used.accepted, spare.accepted
    used.is_silent = True
    used.cut()
    async with asyncio.timeout(DEADLINE_S):
        while spare.accepted == taken:  # noqa: ASYNC110  # theirs
            await asyncio.sleep(RETRY_S)
    assert used.accepted == tried
    used.is_silent = False


async def test_it_tells_when_what_was_published_may_be_lost(tmp_path: Path) -> None:
    """After a loss of the server, and when a queue has another leader; not of other streams."""
    async with lines(tmp_path, 1) as (relay,):
        broker, losses = await connected([relay]), asyncio.Queue[str | None]()
        broker.on_loss(losses.put_nowait)
        relay.cut()
        async with asyncio.timeout(DEADLINE_S):
            assert await losses.get() is None
            following = await broker.follow(journal_stream(0), after=None)
            for stream in (journal_stream(0), queue_stream(0)):
                await broker.publish(f"{LEADER_ELECTED}.{stream}", b"{}")
            assert await losses.get() == queue_stream(0)
        await following.close()
        await broker.close()


async def test_what_is_closed_while_disconnected_is_not_followed_after_it(tmp_path: Path) -> None:
    """Its consumer would live as long as the connection, and nobody take what it brings."""
    async with lines(tmp_path, 1) as (relay,):
        broker = await connected([relay])
        subscribed = broker._client._subs  # noqa: SLF001  # the server tells only of numbers
        kept = await broker.follow(queue_stream(0), after=None, may_rewind=True)
        before = len(subscribed)
        closed = await broker.follow(queue_stream(0), after=None, may_rewind=True)
        relay.is_silent = True
        relay.cut()
        async with asyncio.timeout(DEADLINE_S):
            while broker._client.is_connected:  # noqa: ASYNC110, SLF001  # theirs
                await asyncio.sleep(RETRY_S)
            await closed.close()
            assert len(subscribed) == before
            relay.is_silent = False
            await broker.connected()
        await kept.close()
        await broker.close()
