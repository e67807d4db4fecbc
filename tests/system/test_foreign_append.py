"""Something that is no frame gets into a journal: the writer rebuilds in place and goes on."""

import aiohttp
import pytest

from broker.nats_broker import NatsBroker
from contracts.events import EpochOpened, TransferCompleted
from contracts.subjects import journal_subject
from ewallet.nats_configuration import read_urls
from ewallet.permissions import Role
from tests.system.embedded_stack import Stack
from tests.system.test_damage import some_transfers

pytestmark = [pytest.mark.server, pytest.mark.faults]


async def test_a_writer_survives_a_refused_append_and_moves_no_money_twice(stack: Stack) -> None:
    stack.start()
    await some_transfers(stack.url, 3)
    (pid,) = stack.pids("writer")
    url, _ = read_urls((stack.data / "nats-server.conf").read_text(), Role.WRITER)
    intruder = await NatsBroker.connect(url, name="intruder", role="writer")
    for garbage in (b"", b"garbage", b"\x01\x96"):
        await intruder.publish(journal_subject(0), garbage)
        await intruder.stream_state("EVT_0")
        async with aiohttp.ClientSession(stack.url) as session:
            transfer = {
                "from_account_id": "a",
                "to_account_id": "b",
                "amount": "1.00",
                "currency": "USD",
                "transaction_id": f"after-{garbage.hex()}",
            }
            async with session.post("/wallet/transfer", json=transfer) as response:
                assert response.status == 201
    await intruder.close()
    assert stack.pids("writer") == [pid], "it rebuilt in place"
    stack.stop()
    events = stack.events()
    assert sum(isinstance(event, TransferCompleted) for event in events) == 6
    assert sum(isinstance(event, EpochOpened) for event in events) == 4
