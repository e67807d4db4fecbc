"""Several whole writers on one broker in memory, and what can be done to them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from broker.memory_broker import MemoryBroker, MemoryServer
from broker.port import BrokerFault
from contracts.commands import OpenAccount
from contracts.frames import COMMAND_FRAME, CommandFrame
from contracts.parties import parties
from contracts.partitioning import SlotMap
from contracts.subjects import (
    LEASES_STREAM,
    command_subject,
    leader_subject,
)
from runtime.settings import ServiceSettings
from writer.bootstrap import Writers, make_writers
from writer.config import SNAPSHOT_RULE_DEFAULT
from writer.core.idempotency import FINGERPRINT_KEY_BYTES

DEADLINE_S = 10.0
PARTITIONS = 3
ALL = parties(PARTITIONS)
LEADER_SUBJECTS = [leader_subject(party) for party in ALL]


async def faulty(*_arguments: object) -> None:
    """What every call of some method of a connection comes to."""
    raise BrokerFault("not to be had here")


async def never(*_arguments: object) -> Any:
    """What every call comes to of what is out of reach."""
    await asyncio.Event().wait()


class Wallet:
    """The writers that run, by name."""

    def __init__(self, folder: Path) -> None:
        times = count(1_700_000_000_000_000_000)
        self.server = MemoryServer(lambda: next(times))
        self.running: dict[str, Writers] = {}
        self.connections: dict[str, MemoryBroker] = {}
        self.client = self.server.connect()
        self.snapshot_rule = SNAPSHOT_RULE_DEFAULT
        self._slots = SlotMap.even(PARTITIONS)
        self._names = count(1)
        self._folder = folder
        self._chance = Random(7)

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator[Writers]:
        """A writer of all parties."""
        connection = self.connections[name] = self.server.connect()
        await connection.provide_streams(PARTITIONS)
        slots = await connection.provide_slot_map(self._slots)
        settings = ServiceSettings("", "", PARTITIONS, self._folder / name)
        with ExitStack() as stack:
            writers = make_writers(
                connection,
                settings,
                slots,
                name,
                stack,
                led=ALL,
                snapshot_rule=self.snapshot_rule,
                fresh_key=lambda: self._chance.randbytes(FINGERPRINT_KEY_BYTES),
            )
            tasks = [asyncio.create_task(work) for work in writers.works()]
            self.running[name] = writers
            try:
                yield writers
            finally:
                self.running.pop(name, None)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def open_account(self, partition: int) -> None:
        """Send a command that the partition's journal gets an event of."""
        numbered = ((number, f"account-{number}") for number in self._names)
        here = (each for each in numbered if self._slots.partition_of(each[1]) == partition)
        number, account_id = next(here)
        frame = CommandFrame("proxy", number, [OpenAccount(account_id, "USD", 0)])
        await self.client.publish(command_subject(partition), COMMAND_FRAME.encode(frame))

    def epochs(self) -> dict[int, int]:
        """Of the newest reign of each party that reigns."""
        return {
            writer.party: writer.reign.epoch
            for writers in self.running.values()
            for writer in writers.all
            if writer.reign is not None
        }

    def records(self) -> dict[str, bytes]:
        """The last value of each key of the bucket."""
        stored = self.server.streams[LEASES_STREAM].messages
        return {message.subject: message.data for message in stored}

    def named(self, name: str) -> int:
        """How often a writer was named as leader."""
        leases = self.server.streams[LEASES_STREAM].messages
        return sum(message.data == name.encode() for message in leases)

    def watch_claims(self, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
        """The revisions on which claims of all writers that run rest, from now on."""
        claims = list[int | None]()

        def watch(put: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
            def watched(subject: str, data: bytes, **options: Any) -> Awaitable[int]:
                if subject in LEADER_SUBJECTS:
                    claims.append(options.get("expected_revision"))
                return put(subject, data, **options)

            return watched

        for name in self.running:
            connection = self.connections[name]
            monkeypatch.setattr(connection, "put", watch(connection.put))
        return claims

    def lose_leases(self) -> None:
        """Let the bucket be lost with its server."""
        connections = [self.connections[name] for name in self.running]
        for connection in connections:
            connection.cut()
        self.server.lose_stream(LEASES_STREAM)
        for connection in connections:
            connection.mend()

    def load(self) -> Counter[str]:
        """How many parties each writer leads."""
        led = Counter(dict.fromkeys(self.running, 0))
        for name, writers in self.running.items():
            led[name] += sum(writer.reigning.is_set() for writer in writers.all)
        return led

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when something holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not holds():  # noqa: ASYNC110  # several processes' states
                await asyncio.sleep(0.005)

    async def until_even(self) -> None:
        """Return when every party is led once, and the loads differ by one at most."""

        def is_even() -> bool:
            load = self.load().values()
            return sum(load) == len(ALL) and max(load) - min(load) <= 1

        await self.until(is_even)
