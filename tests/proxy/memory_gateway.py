"""A gateway that keeps its books in memory: what the HTTP edge is tested against."""

from __future__ import annotations

import asyncio

from contracts.commands import Command, OpenAccount
from contracts.queries import (
    Answer,
    CreditStepsQuery,
    TransferQuery,
    UnfinishedAnswer,
    UnfinishedQuery,
)
from contracts.results import Result
from contracts.status import (
    ReaderPartition,
    ReaderStatus,
    WriterCoordinator,
    WriterPartition,
    WriterStatus,
)
from proxy.core.pace import Pace
from proxy.core.timing import Timing
from proxy.ports import AccountsQuery, GatewayStatus, NoAnswer
from tests.proxy.memory_answers import answer, unfinished
from tests.proxy.memory_books import Books, Name


class MemoryGateway:
    """Decides commands and answers queries at once.

    `raises` is raised by every submit, ask and unfinished; `pause()` keeps results back until
    `resume()`; `books.is_stalled` keeps transfers between partitions under way until `finish()`.
    """

    def __init__(self, partition_count: int = 1) -> None:
        self.partition_count = partition_count
        self.books = Books(partition_count)
        self.slots = self.books.slots
        self.raises: Exception | None = None
        self.is_connected = True
        self.missing_writers: set[int] = set()
        self.missing_readers: set[int] = set()
        self.has_coordinator = True
        self.submitted = 0
        self.pace = Pace()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._changed = asyncio.Condition()

    def pause(self) -> None:
        """From now on no result comes."""
        self._flowing.clear()

    def resume(self) -> None:
        """All results come."""
        self._flowing.set()

    async def finish(self) -> None:
        """What is under way is finished."""
        self.books.finish()
        await self._tell()

    async def submit(
        self, command: Command, *, wait_ms: int, timing: Timing | None = None
    ) -> Result | None:
        if self.raises is not None:
            raise self.raises
        self.submitted += 1
        if timing is not None:
            timing.sent()
            timing.taken(0, 0)
        if wait_ms == 0 and self._flowing.is_set():
            await self._carry_out(command, 0)
            return None
        try:
            async with asyncio.timeout(wait_ms / 1_000):
                await self._flowing.wait()
        except TimeoutError:
            return None
        return await self._carry_out(command, wait_ms)

    async def ask(self, query: AccountsQuery) -> Answer:
        if self.raises is not None:
            raise self.raises
        if self.slots.partition_of(_account_of(query)) in self.missing_readers:
            raise NoAnswer
        if isinstance(query, TransferQuery):
            await self._outcome((query.from_account_id, query.transaction_id), query.wait_ms)
        return answer(self.books, query)

    async def unfinished(self, query: UnfinishedQuery) -> list[UnfinishedAnswer]:
        if self.raises is not None:
            raise self.raises
        if self.missing_readers:
            raise NoAnswer
        partitions = range(self.partition_count)
        return [unfinished(self.books, partition, query.limit) for partition in partitions]

    async def status(self) -> GatewayStatus:
        accounts = len(self.books.accounts)
        tips = [len(times) for times in self.books.times]
        led = [
            self._led(partition, tip)
            for partition, tip in enumerate(tips)
            if partition not in self.missing_writers
        ]
        followed = [
            ReaderPartition(partition, tip, stored_sequence=tip, lag_frames=0, accounts=accounts)
            for partition, tip in enumerate(tips)
            if partition not in self.missing_readers
        ]
        coordinators = [WriterCoordinator("c0", 1, 1, 0, 0, 0)] if self.has_coordinator else []
        return GatewayStatus(
            writers=[WriterStatus(id="writer-1", partitions=led, coordinators=coordinators)],
            readers=[ReaderStatus(id="reader-1", partitions=followed)],
            held_requests=0,
            is_connected=self.is_connected,
        )

    def _led(self, partition: int, tip: int) -> WriterPartition:
        under_way = unfinished(self.books, partition, limit=1)
        return WriterPartition(
            partition,
            epoch=1,
            sequence=tip,
            in_flight=0,
            accounts=len(self.books.accounts),
            unfinished=under_way.count,
            oldest_started_at_ms=max(
                (each.started_at_ms for each in under_way.transfers), default=0
            ),
        )

    async def _carry_out(self, command: Command, wait_ms: int) -> Result | None:
        if isinstance(command, OpenAccount):
            return self.books.open(command)
        result = self.books.transfer(command)
        await self._tell()
        if result is not None:
            return result
        return await self._outcome((command.from_account_id, command.transaction_id), wait_ms)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _outcome(self, name: Name, wait_ms: int) -> Result | None:
        """The result of a transfer, waited for."""
        transfers = self.books.transfers

        def is_known() -> bool:
            return name in transfers and transfers[name].result is not None

        try:
            async with asyncio.timeout(wait_ms / 1_000), self._changed:
                await self._changed.wait_for(is_known)
        except TimeoutError:
            return None
        return transfers[name].result


def _account_of(query: AccountsQuery) -> str:
    if isinstance(query, TransferQuery):
        return query.from_account_id
    return query.to_account_id if isinstance(query, CreditStepsQuery) else query.account_id
