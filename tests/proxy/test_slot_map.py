"""A proxy serves only once it knows where accounts live, and only the wallet it is set up for."""

import asyncio

import pytest

from broker.memory_broker import MemoryBroker, MemoryServer
from broker.port import BrokerFault, BrokerUnfit
from contracts.partitioning import SlotMap
from proxy.bootstrap import wallets_slot_map
from runtime.process import Unfit


class Looking(MemoryBroker):
    """A connection that tells when it has looked for the slot map."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server)
        self.looked = asyncio.Event()

    async def slot_map(self) -> SlotMap:
        try:
            return await super().slot_map()
        finally:
            self.looked.set()


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer(lambda: 0)


async def test_a_proxy_waits_for_the_writer_to_make_the_slot_map(server: MemoryServer) -> None:
    proxy = Looking(server)
    waiting = asyncio.create_task(wallets_slot_map(proxy, 4))
    await proxy.looked.wait()
    assert not waiting.done()
    await server.connect().provide_slot_map(SlotMap.even(4))
    assert await asyncio.wait_for(waiting, 10) == SlotMap.even(4)


async def test_a_proxy_of_another_number_of_partitions_refuses(server: MemoryServer) -> None:
    await server.connect().provide_slot_map(SlotMap.even(4))
    with pytest.raises(Unfit, match="EWALLET_PARTITIONS=4"):
        await wallets_slot_map(server.connect(), 2)


async def test_a_damaged_slot_map_is_not_waited_out(server: MemoryServer) -> None:
    server.slot_map = b"{}"
    with pytest.raises(BrokerUnfit, match="damaged"):
        await asyncio.wait_for(wallets_slot_map(server.connect(), 1), 10)


async def test_the_wait_ends_with_the_connection(server: MemoryServer) -> None:
    proxy = Looking(server)
    waiting = asyncio.create_task(wallets_slot_map(proxy, 1))
    await proxy.looked.wait()
    await proxy.close()
    with pytest.raises(BrokerFault):
        await asyncio.wait_for(waiting, 10)
