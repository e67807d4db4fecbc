"""The broker port in memory: one server, many connections, no network and no clock of its own.

For tests and simulations. It keeps the port's promises: streams are ordered, an append expects
the last sequence, what one connection sends arrives in that order, a request goes to one member
of a queue group. A connection can be cut and mended, a stream can lose its tail as a broker's
memory stream does in a crash. With a `Weather` everything takes time, what is published may get
lost, late or doubled, and what a dead process sent before its death may still arrive.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from functools import lru_cache, partial
from typing import Any, Final, Self, TypeVar

from broker.memory_exchange import Exchange
from broker.memory_following import MemoryFollowing
from broker.memory_link import Session
from broker.memory_messages import MemoryMessages
from broker.port import (
    APPEND_S_MAX,
    AppendUnknown,
    BrokerFault,
    BrokerUnfit,
    NoResponse,
    StoredMessage,
    StreamState,
)
from contracts.parties import parties
from contracts.partitioning import NotASlotMap, SlotMap
from contracts.subjects import (
    LEASES_STREAM,
    journal_stream,
    journal_subject,
    queue_stream,
    queue_subjects,
)

_API_TIMEOUT_S: Final = 5.0

_T = TypeVar("_T")

_decoded_slot_map: Final = lru_cache(maxsize=8)(SlotMap.decode)


class MemoryServer(Exchange):
    """What the connections share."""

    def connect(self) -> "MemoryBroker":
        """A new connection."""
        return MemoryBroker(self)


class MemoryBroker(MemoryMessages):
    """Port `Broker`: one connection to a MemoryServer."""

    def __init__(self, server: MemoryServer) -> None:
        super().__init__(server)
        self._followings: list[MemoryFollowing] = []
        self._appends: dict[asyncio.Future[int], asyncio.TimerHandle | None] = {}

    # --- faults, for tests and simulations ---

    def cut(self, arriving: int = 0) -> None:
        """Lose the connection; nothing is sent or received until `mend`.

        Of what is on its way to the server, the first so many messages still arrive.
        """
        self._is_cut = True
        self._mended.clear()
        self.session.end(arriving)
        for following in self._followings:
            following.detach()
        for future in list(self._appends):
            self._settle(future, AppendUnknown("the connection was lost"))

    def mend(self) -> None:
        """Have the connection back."""
        self._is_cut = False
        self.session = Session(self._server.weather)
        for following in self._followings:
            self.session.up.send(following.attach_again, self.session)
        if self.is_connected:
            self._mended.set()
            self.tell_loss(None)

    def die(self, arriving: int = 0) -> None:
        """The process is gone: nobody is told anything, nothing more is sent or received.

        Of what it had sent, the first so many messages still arrive.
        """
        self._closed.set()
        self._mended.clear()
        self.session.end(arriving)
        for following in self._followings:
            following.detach()
        for timer in self._appends.values():
            if timer is not None:
                timer.cancel()
        self._appends.clear()
        self._server.forget(self)

    # --- the port ---

    async def offer(self, subject: str, data: bytes) -> None:
        """See the port."""
        self._check_connected()
        await self._call(self._server.offer, subject, data)

    async def append(
        self, subject: str, data: bytes, *, expected_last_sequence: int
    ) -> asyncio.Future[int]:
        """See the port."""
        self._check_connected()
        loop, down = asyncio.get_running_loop(), self.session.down
        future: asyncio.Future[int] = loop.create_future()
        timer = None
        if self._server.weather is not None:
            unknown = AppendUnknown(f"no acknowledgement within {APPEND_S_MAX} s")
            timer = loop.call_later(APPEND_S_MAX, self._settle, future, unknown)
        self._appends[future] = timer
        settle = partial(down.send, self._settle, future)
        self.session.up.send(self._server.append, subject, data, expected_last_sequence, settle)
        return future

    async def provide_streams(self, partition_count: int) -> None:
        """See the port."""
        await self._call(self._provide_streams, partition_count)

    async def provide_slot_map(self, wanted: SlotMap) -> SlotMap:
        """See the port."""
        return await self._call(self._provide_slot_map, wanted)

    async def slot_map(self) -> SlotMap:
        """See the port."""
        return await self._call(self._slot_map)

    async def restore_queue(self, stream: str) -> None:
        """See the port."""
        await self._call(self._server.restore, stream)

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        expected_revision: int | None = None,
        lasts_s: int | None = None,
    ) -> int:
        """See the port. Nothing is forgotten."""
        del lasts_s
        return await self._call(self._server.put, LEASES_STREAM, subject, data, expected_revision)

    async def follow(
        self, stream: str, *, after: StoredMessage | None, may_rewind: bool = False
    ) -> MemoryFollowing:
        """See the port."""
        following = MemoryFollowing(
            self._server,
            stream,
            after=after,
            may_rewind=may_rewind,
            on_close=self._followings.remove,
        )
        self._followings.append(following)
        try:
            await self._call(following.attach, self.session)
        except BaseException:
            await following.close()
            raise
        return following

    async def stream_state(self, stream: str) -> StreamState:
        """See the port."""
        return await self._call(self._stream_state, stream)

    async def stored_message(self, stream: str, sequence: int) -> StoredMessage | None:
        """See the port."""
        return await self._call(self._stored_message, stream, sequence)

    async def put_snapshot(self, party: int, sequence: int, blocks: AsyncIterator[bytes]) -> None:
        """See the port."""
        kept, block_count = self._server.snapshots, 0
        number = await self._call(kept.begin, party, sequence)
        async for block in blocks:
            await self._call(kept.add, number, block)
            block_count += 1
        await self._call(kept.name, number, block_count)

    async def snapshots(self, party: int) -> list[int]:
        """See the port."""
        return await self._call(self._server.snapshots.sequences, party)

    async def snapshot(self, party: int, sequence: int) -> AsyncGenerator[bytes, None]:
        """See the port."""
        for block in await self._call(self._server.snapshots.get, party, sequence):
            yield block

    async def prune_snapshots(self, party: int, *, below: int, kept: Collection[int]) -> None:
        """See the port."""
        await self._call(self._server.snapshots.prune, party, below, kept)

    async def close(self) -> None:
        """See the port. What was sent arrives."""
        for following in list(self._followings):
            await following.close()
        self._server.forget(self)
        self._closed.set()
        self.session.end(len(self.session.up))
        for task in list(self._answering):
            task.cancel()

    async def __aenter__(self) -> Self:
        """A connection can be used as a context that closes it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- appends ---

    def _settle(self, future: asyncio.Future[int], outcome: int | BrokerFault) -> None:
        if future not in self._appends:
            return
        timer = self._appends.pop(future)
        if timer is not None:
            timer.cancel()
        if future.cancelled():
            return
        if isinstance(outcome, int):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    # --- calls of the JetStream API ---

    async def _call(self, work: Callable[..., _T], *args: Any) -> _T:
        """Have the server do something and wait for what it says."""
        self._check_reachable()
        if self._server.weather is None:
            return work(*args)
        loop, session = asyncio.get_running_loop(), self.session
        future: asyncio.Future[_T] = loop.create_future()
        late = NoResponse(f"no answer within {_API_TIMEOUT_S} s")
        timer = loop.call_later(_API_TIMEOUT_S, _answer, future, late)
        session.up.send(_do, session, future, work, args)
        try:
            return await future
        finally:
            timer.cancel()

    def _provide_streams(self, partition_count: int) -> None:
        if self._server.partition_count not in (None, partition_count):
            raise BrokerUnfit(f"a wallet of {self._server.partition_count} partitions is here")
        self._server.partition_count = partition_count
        for party in parties(partition_count):
            self._server.add_stream(journal_stream(party), journal_subject(party))
            self._server.add_stream(queue_stream(party), *queue_subjects(party))
        self._server.add_stream(LEASES_STREAM)

    def _provide_slot_map(self, wanted: SlotMap) -> SlotMap:
        if self._server.slot_map is None:
            self._server.slot_map = wanted.encode()
        found = self._slot_map()
        if found.partition_count != wanted.partition_count:
            raise BrokerUnfit(f"the slot map is of {found.partition_count} partitions")
        return found

    def _slot_map(self) -> SlotMap:
        if self._server.slot_map is None:
            raise BrokerFault("there is no slot map yet")
        try:
            return _decoded_slot_map(self._server.slot_map)
        except NotASlotMap as error:
            raise BrokerUnfit(f"the slot map is damaged: {error}") from error

    def _stream_state(self, stream: str) -> StreamState:
        count = len(self._server.stream(stream).messages)
        return StreamState(first_sequence=1 if count else 0, last_sequence=count)

    def _stored_message(self, stream: str, sequence: int) -> StoredMessage | None:
        messages = self._server.stream(stream).messages
        return messages[sequence - 1] if 1 <= sequence <= len(messages) else None


def _do(
    session: Session, future: asyncio.Future[_T], work: Callable[..., _T], args: tuple[Any, ...]
) -> None:
    """At the server: do the work and send back what came of it."""
    try:
        outcome: _T | BrokerFault = work(*args)
    except BrokerFault as fault:
        outcome = fault
    session.down.send(_answer, future, outcome)


def _answer(future: asyncio.Future[_T], outcome: _T | BrokerFault) -> None:
    if future.done():
        return
    if isinstance(outcome, BrokerFault):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
