"""One partition at work: its projection, store, following and answering, put together."""

from functools import partial

from broker.port import Broker, StoredMessage, Subscription
from broker.witness import Witness
from contracts.status import ReaderPartition
from contracts.subjects import READER_QUEUE, journal_stream, query_all_subject, query_subject
from reader.core.projection import Projection
from reader.core.unstored import Unstored
from reader.ports import ReadStore
from reader.service.answering import Answering
from reader.service.changes import Changes, ChangeSender
from reader.service.following import Follower
from reader.service.history import History
from reader.service.journal_check import Known, check_journal
from reader.service.recalling import Recalling
from reader.service.storing import Storing
from reader.service.threads import Threads
from runtime.process import once_there


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
        """A rebuild has no witness."""
        self.number = number
        self._witness = witness
        self._store_name = store_name
        stored = store.load()
        unstored = Unstored()
        self._present = History(unstored, store.reading())
        self._past = History(unstored, store.reading())
        self._threads = threads
        recalling = None
        if threads.names is not None:
            recalling = Recalling(unstored, store.reading(), threads.names)
        self._projection = Projection(
            stored.accounts,
            stored.unfinished,
            stored.cursor,
            unstored,
            self._present.row if recalling is None else recalling.row,
            at_ms=stored.at_ms,
        )
        self.storing = Storing(
            store, unstored, threads.writing, stored_sequence=stored.cursor.tip.sequence
        )
        self._changes = Changes(number, self._projection)
        self.follower = Follower(
            number,
            self._projection,
            self.storing,
            self._changes,
            witness=witness,
            recalling=recalling,
        )
        self._served: list[Subscription] = []
        """Queries, while they are answered."""

    async def check(self, broker: Broker) -> StoredMessage | None:
        """The journal's message at the cursor. Raise JournalInDoubt if it is another story."""
        if self._witness is not None and self._witness.newest is not None:
            what = f"this reader's witness file of partition {self.number}"
            await check_journal(broker, self.number, Known(*self._witness.newest, what))
        tip, stream_sequence = self._projection.cursor
        known = Known(tip.sequence, tip.hash, stream_sequence, f"the read store {self._store_name}")
        return await check_journal(broker, self.number, known)

    async def serve_queries(self, broker: Broker, sender: ChangeSender) -> None:
        """Answer queries and push changes from now on.

        Not before the journal is caught up with: a reader behind it takes clients back in time.
        """
        answering = Answering(
            self.number,
            self._projection,
            self.follower.projected,
            self.follower.position,
            partial(_present_end, broker, self.number),
            present=self._present,
            past=self._past,
            threads=self._threads,
        )
        self.follower.frame_seen = answering.notice
        one, every = query_subject(self.number), query_all_subject(self.number)
        self._served = [
            await broker.serve(one, answering.answer_bytes, queue=READER_QUEUE),
            await broker.serve(every, answering.answer_bytes_if_able),
        ]
        await self._changes.serve(broker, sender)

    async def leave_queries(self) -> None:
        """Leave to others what is asked from now on: this reader is about to follow no more."""
        for each in self._served:
            await each.end()

    def status(self) -> ReaderPartition:
        """How far it has got."""
        return ReaderPartition(
            partition=self.number,
            sequence=self._projection.cursor.tip.sequence,
            stored_sequence=self.storing.progress.reached,
            lag_frames=self.follower.backlog,
            accounts=self._projection.account_count,
            tip_hash=self._projection.cursor.tip.hash.hex(),
            unchained_frames=self.follower.unchained,
        )


async def journal_end(broker: Broker, partition: int) -> int:
    """Last stream sequence of a partition's journal, once there is a journal."""
    ask = partial(_present_end, broker, partition)
    return await once_there(broker, ask, f"the journal {journal_stream(partition)}")


async def _present_end(broker: Broker, partition: int) -> int:
    """Last stream sequence of a partition's journal. Raise BrokerFault."""
    return (await broker.stream_state(journal_stream(partition))).last_sequence
