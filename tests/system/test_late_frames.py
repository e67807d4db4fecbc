"""A deposed writer's frames may be stored in the journal: nobody who reads it counts them."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from typing import Any, Final

import aiohttp
import pytest

from broker.nats_broker import NatsBroker
from broker.port import AppendRefused
from contracts.commands import Transfer
from contracts.events import TransferCompleted
from contracts.frames import EVENT_FRAME, CommandFrame
from contracts.partitioning import SlotMap
from contracts.subjects import journal_stream, journal_subject
from ewallet.nats_configuration import read_urls
from ewallet.permissions import Role
from tests.system.embedded_stack import Stack
from writer.core.machine import Machine, QueuedFrame
from writer.core.partition import Partition

pytestmark = [pytest.mark.server, pytest.mark.faults]

STREAM: Final = journal_stream(0)
WRITERS: Final = 2
LIMIT: Final = "1000.00"
LATE_MINOR: Final = 490_00
"""Who counts two refuses the next payment."""
PAID: Final = 20
WAIT_S_MAX: Final = 60.0
"""Only to end a test that hangs."""


def in_flight(machine: Machine[Partition], *transaction_ids: str) -> list[bytes]:
    """The frames that a writer with this knowledge sends next: transfers nobody else knows of."""
    frames = []
    for number, transaction_id in enumerate(transaction_ids, 1):
        transfer = Transfer("a", "b", LATE_MINOR, "USD", transaction_id)
        frame = CommandFrame("a proxy", number, [transfer])
        decision = machine.decide([QueuedFrame(number, machine.tip.at_ms, frame)])
        assert decision.data is not None
        assert isinstance(EVENT_FRAME.decode(decision.data).events[0], TransferCompleted)
        frames.append(decision.data)
    return frames


async def append_late(broker: NatsBroker, frames: list[bytes]) -> None:
    """Store them, as when the number that their writer expects happens to match again."""
    for frame in frames:
        message = await broker.stored_message(STREAM, await append_at_the_end(broker, frame))
        assert message is not None
        assert message.data == frame


async def append_at_the_end(broker: NatsBroker, frame: bytes) -> int:
    """Store it behind whatever is there: a writer that was just started may open an epoch."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            last = (await broker.stream_state(STREAM)).last_sequence
            with suppress(AppendRefused):
                subject = journal_subject(0)
                return await (await broker.append(subject, frame, expected_last_sequence=last))


async def replayed(broker: NatsBroker) -> Machine[Partition]:
    """What a writer knows that has read the journal."""
    machine = Machine(0, Partition(0, SlotMap.even(1)))
    last = (await broker.stream_state(STREAM)).last_sequence
    for sequence in range(1, last + 1):
        message = await broker.stored_message(STREAM, sequence)
        assert message is not None
        machine.replay(message.data)
    return machine


class Client:
    """Pays from a to b, and is told how they stand."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url
        self.paid = 0
        self._sequence = 0
        """Of the last payment."""

    async def open_accounts(self) -> None:
        for account_id in "ab":
            account = {"currency": "USD", "overdraft_limit": LIMIT}
            url = f"{self.url}/wallet/accounts/{account_id}"
            async with self._session.put(url, json=account) as response:
                assert response.status == 201

    async def pay(self, transaction_id: str) -> None:
        """Nobody has heard of this transfer before, and there is money enough."""
        transfer = {
            "from_account_id": "a",
            "to_account_id": "b",
            "amount": f"{PAID}.00",
            "currency": "USD",
            "transaction_id": transaction_id,
        }
        url, headers = f"{self.url}/wallet/transfer", {"Prefer": "wait=60"}
        async with self._session.post(url, json=transfer, headers=headers) as response:
            assert response.status == 201, await response.text()
            assert "Idempotent-Replayed" not in response.headers
            self._sequence = (await response.json())["sequence"]
        self.paid += 1

    async def check_read_model(self) -> None:
        """Both accounts stand, and have stood, as this client was told."""
        at = f"min_sequence={self._sequence}"
        for account_id, sign in (("a", "-"), ("b", "")):
            path = f"/wallet/accounts/{account_id}"
            shown = await self._get(f"{path}?{at}")
            assert shown["balance"] == f"{sign}{self.paid * PAID}.00"
            entries = (await self._get(f"{path}/entries?{at}"))["entries"]
            assert [entry["amount"] for entry in entries] == self.paid * [f"{PAID}.00"]

    async def until_dropped(self, frames: int) -> int:
        """Return how many frames the reader has dropped since it started, once it is so many."""
        async with asyncio.timeout(WAIT_S_MAX):
            while True:
                (partition,) = (await self._get("/wallet/status"))["partitions"]
                dropped: int = sum(each["unchained_frames"] for each in partition["readers"])
                if dropped >= frames:
                    return dropped
                await asyncio.sleep(0.05)

    async def until_shared(self) -> None:
        """Return once the writers lead a party each: then none moves, which opens an epoch."""
        async with asyncio.timeout(WAIT_S_MAX):
            while True:
                status = await self._get("/wallet/status")
                leaders = [each["writer"]["id"] for each in status["partitions"] if each["writer"]]
                leaders += [each["writer"] for each in status["coordinators"]]
                if len(set(leaders)) == WRITERS:
                    return
                await asyncio.sleep(0.05)

    async def _get(self, path: str) -> dict[str, Any]:
        async with self._session.get(f"{self.url}{path}") as response:
            assert response.status == 200
            found: dict[str, Any] = await response.json()
            return found


async def change_writers(stack: Stack, client: Client, name: str) -> None:
    """Kill all one after the other, so whoever leads; the next one goes on from the journal."""
    for number, pid in enumerate(stack.pids("writer")):
        os.kill(pid, 9)
        await client.pay(f"{name}-{number}")


async def until_snapshot(broker: NatsBroker, client: Client, *, above: int) -> None:
    """Pay until there is a snapshot of what came later than some sequence."""
    async with asyncio.timeout(WAIT_S_MAX):
        while max(await broker.snapshots(0), default=0) <= above:
            await client.pay(f"until-snapshot-{client.paid}")


def rebuild(stack: Stack) -> None:
    """Make the read store anew from the journal."""
    configuration = (stack.data / "nats-server.conf").read_text()
    nats_url, monitor_url = read_urls(configuration, Role.READER)
    settings = {
        "EWALLET_NATS_URL": nats_url,
        "EWALLET_NATS_MONITOR_URL": monitor_url,
        "EWALLET_PARTITIONS": "1",
        "EWALLET_DATA_DIR": str(stack.data),
    }
    command = [sys.executable, "-m", "reader", "rebuild"]
    subprocess.run(command, env={**os.environ, **settings}, check=True, timeout=WAIT_S_MAX)


async def test_a_deposed_writers_late_frames_are_stored_and_count_for_nobody(stack: Stack) -> None:
    """For no writer that leads or stands by, no reader, no snapshot, no recovery, no rebuild."""
    stack.configure(EWALLET_WRITERS=str(WRITERS), EWALLET_SNAPSHOT_EVENTS="4").start()
    async with aiohttp.ClientSession() as session:
        client = Client(session, stack.url)
        await client.open_accounts()
        await client.pay("first")
        broker = await connected(stack)
        epoch = (await replayed(broker)).tip.epoch
        late = in_flight(await replayed(broker), "late-0", "late-1")
        later = in_flight(await replayed(broker), "late-2", "late-3")
        await change_writers(stack, client, "then")
        assert (await replayed(broker)).tip.epoch > epoch, "it is deposed"

        sequence = (await replayed(broker)).tip.sequence
        await append_late(broker, late)
        assert await client.until_dropped(2) == 2
        await client.pay("late-0")
        await change_writers(stack, client, "after-that")
        await client.check_read_model()

        await until_snapshot(broker, client, above=sequence)

        await client.until_shared()
        await append_late(broker, later)
        assert await client.until_dropped(4) == 4
        await broker.close()
        stack.kill_everything()
        client.url = stack.start().url
        await client.until_dropped(2)  # the first ones may be before its cursor
        await client.pay("late-2")
        await client.check_read_model()

        await asyncio.to_thread(rebuild, stack)
        await client.check_read_model()
        stack.kill("reader")  # the next one takes what was made anew
        await client.pay("with-what-was-made-anew")
        await client.check_read_model()
    stack.stop()
    events = stack.events()
    completed = [event for event in events if isinstance(event, TransferCompleted)]
    assert len(completed) == client.paid
    assert LATE_MINOR not in {event.amount_minor for event in completed}


async def connected(stack: Stack) -> NatsBroker:
    """As a writer is."""
    url, _ = read_urls((stack.data / "nats-server.conf").read_text(), Role.WRITER)
    return await NatsBroker.connect(url, name="old", role="writer")
