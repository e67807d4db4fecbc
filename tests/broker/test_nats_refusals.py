"""What a server holds that no wallet may go on with: refused, and left as it is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.nats_broker import NatsBroker
from broker.nats_streams import queue_config
from broker.port import BrokerFault, BrokerUnfit
from contracts.parties import COORDINATOR
from contracts.partitioning import SlotMap
from contracts.subjects import (
    SLOT_MAP_SUBJECT,
    WALLET_STREAM,
    command_subject,
    journal_stream,
    journal_subject,
    queue_stream,
)
from tests.broker.implementations import over_nats

pytestmark = pytest.mark.server


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[NatsBroker]:
    """A connection to a server that holds nothing yet."""
    async with over_nats(tmp_path) as connect:
        broker = await connect()
        assert isinstance(broker, NatsBroker)
        try:
            yield broker
        finally:
            await broker.close()


@pytest.mark.parametrize("data", [b"", b"{}", SlotMap.even(2).encode()[:-2]])
async def test_a_damaged_slot_map_is_never_replaced(broker: NatsBroker, data: bytes) -> None:
    """Also when somebody deleted the key, which leaves an empty value."""
    await broker.provide_slot_map(SlotMap.even(2))
    await (await broker.append(SLOT_MAP_SUBJECT, data, expected_last_sequence=1))
    with pytest.raises(BrokerUnfit, match="damaged"):
        await broker.slot_map()
    with pytest.raises(BrokerUnfit, match="damaged"):
        await broker.provide_slot_map(SlotMap.even(2))
    assert (await broker.stream_state(WALLET_STREAM)).last_sequence == 2


async def test_a_slot_map_that_cannot_be_stored_is_a_fault(broker: NatsBroker) -> None:
    """Here its bucket has another subject, so nobody takes the map."""
    config = {"name": WALLET_STREAM, "subjects": ["other"], "storage": "file"}
    assert "error" not in await broker.api(f"STREAM.CREATE.{WALLET_STREAM}", config)
    with pytest.raises(BrokerFault) as fault:
        await broker.provide_slot_map(SlotMap.even(2))
    assert not isinstance(fault.value, BrokerUnfit)


async def test_a_queue_that_takes_no_steps_is_refused(broker: NatsBroker) -> None:
    """As a version without transfers between partitions made it: steps would get lost."""
    config = queue_config(0, replicas=1) | {"subjects": [command_subject(0)]}
    assert "error" not in await broker.api(f"STREAM.CREATE.{queue_stream(0)}", config)
    with pytest.raises(BrokerUnfit, match=r"takes wallet\.cmd\.0 and must take"):
        await broker.provide_streams(1)


async def test_a_coordinators_journal_that_may_forget_is_refused(broker: NatsBroker) -> None:
    stream = journal_stream(COORDINATOR)
    config = {
        "name": stream,
        "subjects": [journal_subject(COORDINATOR)],
        "storage": "file",
        "max_age": 3_600_000_000_000,
        "metadata": {"ewallet.partitions": "1"},
    }
    assert "error" not in await broker.api(f"STREAM.CREATE.{stream}", config)
    with pytest.raises(BrokerUnfit, match=f"{stream} is not configured as a journal"):
        await broker.provide_streams(1)
