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
async def connections(tmp_path: Path) -> AsyncIterator[tuple[NatsBroker, NatsBroker]]:
    """Two to a server that holds nothing yet: for one copy of each stream, and for three."""
    async with over_nats(tmp_path) as connect:
        single = await connect()
        assert isinstance(single, NatsBroker)
        address = single._client.connected_url  # noqa: SLF001  # tests.broker knows no other way
        assert address is not None
        triple = await NatsBroker.connect(address.geturl(), name="test", role="test", replicas=3)
        try:
            yield single, triple
        finally:
            await single.close()
            await triple.close()


@pytest.fixture
def broker(connections: tuple[NatsBroker, NatsBroker]) -> NatsBroker:
    """The connection for one copy of each stream."""
    return connections[0]


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


async def test_more_copies_than_a_lone_server_can_keep_are_refused(
    connections: tuple[NatsBroker, NatsBroker],
) -> None:
    with pytest.raises(BrokerUnfit, match="EWALLET_REPLICAS=3 asks for more copies"):
        await connections[1].provide_streams(1)


async def test_streams_with_fewer_copies_than_asked_for_are_refused(
    connections: tuple[NatsBroker, NatsBroker],
) -> None:
    single, triple = connections
    await single.provide_streams(1)
    await single.provide_slot_map(SlotMap.even(1))
    with pytest.raises(BrokerUnfit, match="KV_LEASES has 1 replicas and EWALLET_REPLICAS is 3"):
        await triple.provide_streams(1)
    with pytest.raises(BrokerUnfit, match="KV_WALLET has 1 replicas"):
        await triple.provide_slot_map(SlotMap.even(1))
