"""Taking a backup of a wallet that runs, through its broker, without anybody waiting for it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, cast

from broker.port import Broker, StoredMessage
from contracts.chain import Chained, follow, genesis
from contracts.parties import parties, party_name, party_title
from contracts.partitioning import SlotMap
from contracts.subjects import journal_stream
from ewallet.backup.cut import Contradiction, Cut
from ewallet.backup.file import BackupWriter, End, Reached
from ewallet.backup.merge import Link, weave
from runtime.process import Unfit

_AHEAD_BYTES_MAX: Final = 128 * 1_024 * 1_024
"""Read ahead of all journals together,"""
_CHUNK_BYTES_MAX: Final = 16 * 1_024 * 1_024
"""and of each. Little costs time: a server sends more than is taken before the end is heard."""
_SILENCE_S: Final = 60.0

_Groups = AsyncGenerator[list[StoredMessage], None]
"""What every following iterates as; left early, it has to be closed."""


class JournalReading:
    """One journal from its beginning up to a place; see `merge.Reading`.

    It is followed a chunk at a time and not in between: what has to wait for other journals keeps
    nothing busy, and no more than one journal at a time pours into the connection.
    """

    def __init__(self, broker: Broker, party: int, end: int, chunk_bytes: int) -> None:
        self.party = party
        self.head: Link | None = None
        self.tip = genesis(party)
        """Of the frame before the head."""
        self.frames = 0
        """That count, before the head."""
        self.end = end
        """Stream sequence beyond which nothing is read."""
        self._broker = broker
        self._chunk_bytes = chunk_bytes
        self._read: StoredMessage | None = None
        self._ahead: deque[StoredMessage] = deque()

    async def advance(self) -> None:
        """See `merge.Reading`. Raise BrokerFault, Unfit, MadeByAnotherVersion."""
        if self.head is not None:
            self.tip, self.head = self.head.tip, None
            self.frames += 1
        while self.head is None:
            if not self._ahead:
                if self._is_at_end():
                    return
                await self._read_ahead()
            message = self._ahead.popleft()
            link = follow(self.tip, message.data)
            if isinstance(link, Chained):  # what does not chain counts for nobody
                self.head = Link(link.tip, link.frame, message.data, message.sequence)

    def _is_at_end(self) -> bool:
        return (0 if self._read is None else self._read.sequence) >= self.end

    async def _read_ahead(self) -> None:
        """Read a chunk, one message at least."""
        following = await self._broker.follow(journal_stream(self.party), after=self._read)
        try:
            async with aclosing(cast(_Groups, aiter(following))) as groups:
                byte_count = 0
                while byte_count < self._chunk_bytes and not self._is_at_end():
                    async with asyncio.timeout(_SILENCE_S):
                        byte_count += self._take(await anext(groups))
        except TimeoutError:
            raise Unfit(
                f"{party_title(self.party)}: nothing came from its journal for {_SILENCE_S:g} s,"
                f" and it should reach stream sequence {self.end}. Look at the NATS servers, and"
                " take the backup again."
            ) from None
        finally:
            await following.close()

    def _take(self, messages: list[StoredMessage]) -> int:
        """Keep what is not beyond the end; give its bytes."""
        kept = [message for message in messages if message.sequence <= self.end]
        self._ahead.extend(kept)
        self._read = kept[-1] if kept else self._read
        return sum(len(message.data) for message in kept)


async def read_journals(broker: Broker, numbers: list[int]) -> list[JournalReading]:
    """Readings of some parties' journals, up to where each ends now. Raise BrokerFault."""
    chunk_bytes = min(_CHUNK_BYTES_MAX, _AHEAD_BYTES_MAX // len(numbers))
    return [
        JournalReading(broker, party, await last_sequence(broker, party), chunk_bytes)
        for party in numbers
    ]


async def take_backup(broker: Broker, slots: SlotMap, sink: BackupWriter) -> End:
    """Write all journals; what was durable before the call is inside. Give what the end says.

    Raise BrokerFault; Unfit if the journals contradict each other.
    """
    numbers = parties(slots.partition_count)
    # In two rounds: what the first saw follows from nothing that the second did not see.
    before = {party: await last_sequence(broker, party) for party in numbers}
    readings = await read_journals(broker, numbers)
    for reading in readings:
        _check_not_shorter(reading, before[reading.party])
    cut = Cut()
    try:
        async for party, link in weave(readings, cut):
            sink.add(party, link.data)
    except Contradiction as error:
        raise _contradicted(str(error)) from error
    for reading in readings:
        _check_reach(reading, before[reading.party], cut)
    journals = {party_name(each.party): Reached.of(each.tip, each.frames) for each in readings}
    end = End(journals, cut.unfinished_count)
    sink.end(end)
    return end


async def last_sequence(broker: Broker, party: int) -> int:
    """Of a journal's stream; 0 while it is empty. Raise BrokerFault."""
    return (await broker.stream_state(journal_stream(party))).last_sequence


def _check_not_shorter(reading: JournalReading, before: int) -> None:
    """A journal only ever grows. Raise Unfit."""
    if reading.end < before:
        raise _contradicted(
            f"{party_title(reading.party)} reached stream sequence {before}, and a moment later"
            f" only {reading.end}"
        )


def _check_reach(reading: JournalReading, before: int, cut: Cut) -> None:
    """Only what came after the beginning may be left out. Raise Unfit."""
    head = reading.head
    if head is not None and head.stream_sequence <= before:
        raise _contradicted(
            f"{party_title(reading.party)}, stream sequence {head.stream_sequence}:"
            f" {cut.missing(head.frame)}, and no journal holds that"
        )


def _contradicted(what: str) -> Unfit:
    return Unfit(
        f"The journals contradict each other. {what}. One of them lost stored frames, or a NATS"
        " server that is cut off answered with an old state. No backup was made. Look at the"
        " servers and try again; if it stays so, stop the wallet and keep a copy of its data."
    )
