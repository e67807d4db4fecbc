"""One partition at work: its projection, store, following and answering, put together."""

import asyncio
import logging
from concurrent.futures import Executor
from contextlib import suppress

from msgspec import Struct

from broker.port import Broker, BrokerFault, BrokerUnfit, StoredMessage
from broker.witness import Witness
from contracts.status import ReaderPartition
from contracts.subjects import READER_QUEUE, journal_stream, query_subject
from reader.core.projection import Projection
from reader.core.unstored import Unstored
from reader.ports import ReadStore
from reader.service.answering import Answering
from reader.service.following import Follower
from reader.service.history import History
from reader.service.journal_check import Known, check_journal
from reader.service.storing import Storing

_log = logging.getLogger(__name__)

_JOURNAL_RETRY_S = 0.1


class Threads(Struct, frozen=True):
    """Where work runs that must not hold up the loop."""

    writing: Executor
    """As many threads as partitions: each writes one group at a time."""
    past: Executor
    """One thread, because the connections that it reads through are its own."""


class Partition:
    """One partition of a reader, from its store's last state on."""

    def __init__(
        self,
        number: int,
        store: ReadStore,
        threads: Threads,
        *,
        witness: Witness | None,
        store_name: str,
    ) -> None:
        """Without a witness (in a rebuild) nothing is witnessed or pushed, only stored."""
        self.number = number
        self._witness = witness
        self._store_name = store_name
        stored = store.load()
        unstored = Unstored()
        self._present = History(unstored, store.reading())
        self._past = History(unstored, store.reading())
        self._threads = threads
        self._projection = Projection(
            stored.accounts,
            stored.unfinished,
            stored.cursor,
            unstored,
            self._present.row,
            at_ms=stored.at_ms,
        )
        self.storing = Storing(
            store, unstored, threads.writing, stored_sequence=stored.cursor.tip.sequence
        )
        self.follower = Follower(number, self._projection, self.storing, witness=witness)

    async def check(self, broker: Broker) -> StoredMessage | None:
        """The journal's message at the cursor. Raise JournalInDoubt if it is another story."""
        if self._witness is not None and self._witness.newest is not None:
            what = f"this reader's witness file of partition {self.number}"
            await check_journal(broker, self.number, Known(*self._witness.newest, what))
        tip, stream_sequence = self._projection.cursor
        known = Known(tip.sequence, tip.hash, stream_sequence, f"the read store {self._store_name}")
        return await check_journal(broker, self.number, known)

    async def serve_queries(self, broker: Broker) -> None:
        """Answer queries from now on.

        Not before the journal is caught up with: a reader behind it takes clients back in time.
        """
        answering = Answering(
            self.number,
            self._projection,
            self.follower.projected,
            present=self._present,
            past=self._past,
            threads=self._threads.past,
        )
        self.follower.frame_seen = answering.notice
        subject = query_subject(self.number)
        await broker.serve(subject, answering.answer_bytes, queue=READER_QUEUE)

    def status(self) -> ReaderPartition:
        """How far it has got."""
        return ReaderPartition(
            partition=self.number,
            sequence=self._projection.cursor.tip.sequence,
            stored_sequence=self.storing.progress.reached,
            lag_frames=self.follower.backlog,
            accounts=self._projection.account_count,
        )


async def journal_end(broker: Broker, partition: int) -> int:
    """Last stream sequence of a partition's journal, once there is a journal.

    The writer makes it and may start after this process, so this waits as long as it takes.
    """
    stream = journal_stream(partition)
    is_told = False
    while True:
        try:
            return (await broker.stream_state(stream)).last_sequence
        except BrokerUnfit:
            raise
        except BrokerFault as fault:
            if not is_told:
                _log.warning("waiting for the journal %s: %s", stream, fault)
            is_told = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_JOURNAL_RETRY_S):
                await broker.closed()
                raise BrokerFault(f"the connection closed before {stream} was found")
