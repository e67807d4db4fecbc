"""What is behind the proxy fails while accounts are watched: nothing is lost or told twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.proxy.live_wallet import LiveWallet, run_live_wallet, serve_live
from tests.proxy.world import World

pytestmark = pytest.mark.server

DEADLINE_S = 30.0


@pytest.fixture
async def wallet(tmp_path: Path) -> AsyncIterator[LiveWallet]:
    async with asyncio.timeout(DEADLINE_S), run_live_wallet(tmp_path) as live:
        yield live


async def test_a_reader_that_is_started_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Changes that nobody pushed are asked for."""
    world = World(tmp_path)
    async with (
        asyncio.timeout(DEADLINE_S),
        world.gateway() as gateway,
        world.writer(),
        serve_live(world, gateway) as wallet,
        AsyncExitStack() as readers,
    ):
        await readers.enter_async_context(world.reader())
        for account_id in ("issuer", "ann"):
            await wallet.open(account_id, "1000.00")
        async with wallet.socket() as client:
            await client.subscribe("ann")
            sequences = [await wallet.pay("ann", "t0")]
            for round_ in range(3):
                await readers.aclose()
                paying = asyncio.create_task(wallet.pay("ann", f"between-{round_}"))
                await readers.enter_async_context(world.reader())
                sequences.append(await paying)
                sequences.append(await wallet.pay("ann", f"after-{round_}"))
            heard = [await client.hear() for _ in sequences]
    assert [(each["type"], each["sequence"]) for each in heard] == [
        ("change", sequence) for sequence in sequences
    ]


async def test_a_lost_connection_to_the_broker_loses_and_doubles_nothing(
    wallet: LiveWallet,
) -> None:
    async with wallet.socket() as client:
        await client.subscribe("ann")
        sequences = [await wallet.pay("ann", "t0")]
        for round_ in range(3):
            wallet.world.proxy_connection.cut()
            paying = asyncio.create_task(wallet.pay("ann", f"t{round_ + 1}"))
            await asyncio.sleep(0)
            wallet.world.proxy_connection.mend()
            sequences.append(await paying)
        heard = [await client.hear() for _ in sequences]
    assert [each["sequence"] for each in heard] == sequences
