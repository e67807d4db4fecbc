"""A stopped wallet's journal is damaged: the next start refuses and changes nothing."""

import hashlib
import re
from pathlib import Path

import aiohttp
import pytest

from contracts.events import TransferCompleted
from tests.system.embedded_stack import Stack

pytestmark = [pytest.mark.server, pytest.mark.faults]


async def some_transfers(url: str, count: int) -> None:
    async with aiohttp.ClientSession(url) as session:
        for account_id in ("a", "b"):
            account = {"currency": "USD", "overdraft_limit": "1000.00"}
            async with session.put(f"/wallet/accounts/{account_id}", json=account) as response:
                assert response.status == 201
        for number in range(count):
            transfer = {
                "from_account_id": "a",
                "to_account_id": "b",
                "amount": "1.00",
                "currency": "USD",
                "transaction_id": f"t{number}",
            }
            async with session.post("/wallet/transfer", json=transfer) as response:
                assert response.status == 201


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def last_block(stack: Stack) -> Path:
    (block,) = (stack.data / "nats").rglob("streams/EVT_0/msgs/*.blk")
    return block


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
async def test_a_damaged_journal_is_refused_and_nothing_is_changed(
    stack: Stack, how: str, damage: str
) -> None:
    stack.start()
    await some_transfers(stack.url, 5)
    if how == "stop":
        stack.stop()
    else:
        stack.kill_everything()
    block = last_block(stack)
    sound = block.read_bytes()
    if damage == "flip":
        at = len(sound) * 3 // 4
        block.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
    else:
        block.write_bytes(sound[:-10])
    before = fingerprint(stack.data / "nats")
    said = stack.refuses_to_start()
    assert fingerprint(stack.data / "nats") == before
    assert "artition 0" in said
    assert re.search(r"sequences? \d+", said), said
    assert "backup" in said
    block.write_bytes(sound)
    stack.start()
    stack.stop()
    events = stack.events()
    assert sum(isinstance(event, TransferCompleted) for event in events) == 5
