"""What the broker port promises about the slot map, asked of every implementation."""

import asyncio

import pytest

from broker.port import BrokerFault, BrokerUnfit
from contracts.limits import SLOT_COUNT
from contracts.partitioning import SlotMap
from tests.broker.implementations import Connect


async def test_there_is_no_slot_map_until_a_writer_makes_it(connect: Connect) -> None:
    writer, proxy = await connect(), await connect()
    with pytest.raises(BrokerFault) as fault:
        await proxy.slot_map()
    assert not isinstance(fault.value, BrokerUnfit)
    assert await writer.provide_slot_map(SlotMap.even(3)) == SlotMap.even(3)
    assert await proxy.slot_map() == SlotMap.even(3)


async def test_the_slot_map_that_is_there_counts(connect: Connect) -> None:
    """Whoever wants another one of as many partitions gets the wallet's own."""
    uneven = SlotMap([0, *[1] * (SLOT_COUNT - 1)], 2)
    await (await connect()).provide_slot_map(uneven)
    again = await connect()
    assert await again.provide_slot_map(SlotMap.even(2)) == uneven
    assert await again.slot_map() == uneven


async def test_several_who_make_the_slot_map_at_once_agree(connect: Connect) -> None:
    wanted = [SlotMap([0] * slots + [1] * (SLOT_COUNT - slots), 2) for slots in range(1, 9)]
    brokers = [await connect() for _ in wanted]
    maps = await asyncio.gather(
        *(broker.provide_slot_map(slots) for broker, slots in zip(brokers, wanted, strict=True))
    )
    assert len(set(maps)) == 1
    assert maps[0] in wanted
    assert await brokers[0].slot_map() == maps[0]


async def test_a_slot_map_of_another_number_of_partitions_is_refused(connect: Connect) -> None:
    broker = await connect()
    await broker.provide_slot_map(SlotMap.even(2))
    with pytest.raises(BrokerUnfit):
        await broker.provide_slot_map(SlotMap.even(4))
    assert await broker.slot_map() == SlotMap.even(2)
