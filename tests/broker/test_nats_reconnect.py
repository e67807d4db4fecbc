"""Where a connection goes on whose server was lost."""

import asyncio
from pathlib import Path

import pytest

from broker.nats_broker import NatsBroker
from tests.broker.implementations import DEADLINE_S, over_nats
from tests.ewallet.relay import Relay, run_relay

pytestmark = pytest.mark.server

LOSSES = 8
"""A coin would have to fall on the same side so often."""


async def test_a_server_that_was_lost_is_not_tried_before_another(tmp_path: Path) -> None:
    """One that is paused or cut off answers nothing, and each try takes seconds."""
    async with over_nats(tmp_path) as connect:
        direct = await connect()
        assert isinstance(direct, NatsBroker)
        address = direct._client.connected_url  # noqa: SLF001  # tests.broker knows no other way
        assert address is not None
        target = f"http://{address.netloc}"
        async with run_relay(target) as one, run_relay(target) as two:
            urls = ",".join(each.url.replace("http", "nats") for each in (one, two))
            broker = await NatsBroker.connect(urls, name="test", role="test")
            used, spare = (one, two) if one.accepted else (two, one)
            for _ in range(LOSSES):
                await lose(used, spare)
                used, spare = spare, used
            await broker.close()
        await direct.close()


async def lose(used: Relay, spare: Relay) -> None:
    """Cut the line in use and keep it silent until the other one is."""
    tried, taken = used.accepted, spare.accepted
    used.is_silent = True
    used.cut()
    async with asyncio.timeout(DEADLINE_S):
        while spare.accepted == taken:  # noqa: ASYNC110  # theirs
            await asyncio.sleep(0.01)
    assert used.accepted == tried
    used.is_silent = False
