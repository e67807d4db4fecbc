"""A whole reader on the journals of a broker in memory."""

import asyncio
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from broker.memory_broker import MemoryServer
from contracts.frames import RESULT_FRAME
from contracts.queries import (
    NOT_NOW,
    AccountQuery,
    Answer,
    Missing,
    NotFound,
    Query,
    decode_answer,
    encode_query,
)
from contracts.results import Result
from contracts.subjects import (
    journal_stream,
    journal_subject,
    query_all_subject,
    query_subject,
    result_subject,
)
from reader.bootstrap import serve_on
from reader.config import DatabaseAddress
from runtime.settings import ServiceSettings
from tests.reader.books import START_MS


class Journals:
    """A memory server with the journals of some partitions."""

    def __init__(self, partitions: int = 1) -> None:
        self._now_ns = START_MS * 1_000_000
        self.server = MemoryServer(self._tick)
        for partition in range(partitions):
            self.server.add_stream(journal_stream(partition), journal_subject(partition))

    async def append(self, frames: Sequence[bytes], partition: int = 0) -> None:
        broker = self.server.connect()
        for data in frames:
            await broker.publish(journal_subject(partition), data)
        await broker.close()

    def _tick(self) -> int:
        self._now_ns += 1
        return self._now_ns


class Running:
    """A whole reader on the journals of a memory server, from ready to stopped."""

    def __init__(
        self,
        journals: Journals,
        folder: Path,
        partitions: int = 1,
        *,
        database: DatabaseAddress | None = None,
    ) -> None:
        self._database = database
        self.settings = ServiceSettings(
            nats_url="memory", nats_monitor_url="", partition_count=partitions, data_dir=folder
        )
        self.connection = journals.server.connect()
        self.client = journals.server.connect()
        self.pushed: dict[str, list[Result]] = {}
        self._was_pushed = asyncio.Event()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for proxy_id in ("p1", "p2"):
            await self.client.subscribe(
                result_subject(proxy_id), functools.partial(self._note_pushed, proxy_id)
            )
        ready = asyncio.Event()
        self._task = asyncio.create_task(
            serve_on(self.connection, self.settings, self._stop, ready.set, self._database)
        )
        readiness = asyncio.create_task(ready.wait())
        await asyncio.wait({self._task, readiness}, return_when=asyncio.FIRST_COMPLETED)
        if not readiness.done():
            readiness.cancel()
            self._task.result()
        return self

    def stop(self) -> None:
        """Ask it to stop; that it has is waited for at the end of the context."""
        self._stop.set()

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self.stop()
        await self._task
        await self.client.close()
        await self.connection.close()

    async def ended(self) -> None:
        """Return when the reader has stopped by itself; raise why."""
        assert self._task is not None
        await self._task

    async def ask(self, query: Query, partition: int = 0) -> Answer:
        data = await self.client.request(
            query_subject(partition), encode_query(query), timeout_s=10.0
        )
        return decode_answer(data)

    async def ask_once(self, query: Query, partition: int = 0) -> Answer | None:
        """None if the reader can't look now."""
        data = await self.client.request(
            query_subject(partition), encode_query(query), timeout_s=10.0
        )
        return None if data == NOT_NOW else decode_answer(data)

    async def ask_with_others(self, query: Query, partition: int = 0) -> list[Answer]:
        """Ask all readers; give what comes soon."""
        subject, question = query_all_subject(partition), encode_query(query)
        answers = await self.client.request_all(subject, question, timeout_s=0.5)
        return [decode_answer(each) for each in answers]

    async def reach(self, sequence: int, partition: int = 0) -> None:
        """Return when the reader is there."""
        answer = await self.ask(AccountQuery("nobody", min_sequence=sequence), partition)
        assert answer == NotFound(partition, sequence, Missing.ACCOUNT)

    async def pushes(self, wanted: Mapping[str, Sequence[Result]]) -> None:
        """Return when as many results are pushed as are wanted; assert that it is these."""
        async with asyncio.timeout(10):
            while _count(self.pushed) < _count(wanted):
                self._was_pushed.clear()
                await self._was_pushed.wait()
        assert self.pushed == wanted

    def _note_pushed(self, proxy_id: str, data: bytes) -> None:
        self.pushed.setdefault(proxy_id, []).extend(RESULT_FRAME.decode(data).results)
        self._was_pushed.set()


def _count(results: Mapping[str, Sequence[Result]]) -> int:
    return sum(map(len, results.values()))
