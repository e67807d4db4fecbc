"""The broker port in memory: one server, many connections, no network and no clock of its own.

For tests and simulations. It keeps the port's promises: streams are ordered, an append expects
the last sequence, what one connection sends arrives in that order, a request goes to one member
of a queue group. A connection can be cut and mended, a stream can lose its tail as a broker's
memory stream does in a crash. With a `Weather` everything takes time, what is published may get
lost, late or doubled, and what a dead process sent before its death may still arrive.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from functools import lru_cache, partial
from typing import Any, Final, Self, TypeVar

from broker.memory_exchange import Answerer, Asking, Exchange, Handler, Service, Subscription
from broker.memory_following import MemoryFollowing
from broker.memory_link import Session
from broker.port import (
    APPEND_S_MAX,
    AppendUnknown,
    BrokerFault,
    BrokerUnfit,
    Disconnected,
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

_log = logging.getLogger(__name__)

_API_TIMEOUT_S: Final = 5.0

_T = TypeVar("_T")

_decoded_slot_map: Final = lru_cache(maxsize=8)(SlotMap.decode)


class MemoryServer(Exchange):
    """What the connections share."""

    def connect(self) -> "MemoryBroker":
        """A new connection."""
        return MemoryBroker(self)


class MemoryBroker:
    """Port `Broker`: one connection to a MemoryServer."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self.session = Session(server.weather)
        """The present TCP connection; a new one after each cut."""
        self._is_cut = False
        self._closed = asyncio.Event()
        self._mended = asyncio.Event()
        self._answering: dict[asyncio.Task[None], None] = {}
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

    def die(self, arriving: int = 0) -> None:
        """The process is gone: nobody is told anything, nothing more is sent or received.

        Of what it had sent, the first so many messages still arrive.
        """
        self._closed.set()
        self.session.end(arriving)
        for following in self._followings:
            following.detach()
        for timer in self._appends.values():
            if timer is not None:
                timer.cancel()
        self._appends.clear()
        self._server.forget(self)

    # --- the port ---

    @property
    def is_connected(self) -> bool:
        """See the port."""
        return not self._is_cut and not self._closed.is_set()

    async def publish(self, subject: str, data: bytes) -> None:
        """See the port."""
        self._check_connected()
        self.session.up.publish(self._server.publish, subject, data)

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

    async def snapshot(self, party: int, sequence: int) -> list[bytes]:
        """See the port."""
        return await self._call(self._server.snapshots.get, party, sequence)

    async def prune_snapshots(self, party: int, *, below: int, kept: Collection[int]) -> None:
        """See the port."""
        await self._call(self._server.snapshots.prune, party, below, kept)

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        """See the port."""
        self._check_connected()
        subscription = Subscription(self, handler)
        self._server.subscriptions.setdefault(subject, []).append(subscription)
        return subscription

    async def serve(self, subject: str, handler: Answerer, *, queue: str = "") -> None:
        """See the port."""
        self._check_connected()
        service = Service(self, queue, handler)
        self._server.services.setdefault(subject, []).append(service)

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """See the port."""
        answers = await self._ask(subject, data, timeout_s, wanted=1)
        if not answers:
            raise NoResponse(f"{subject}: nobody answered")
        return answers[0]

    async def request_all(self, subject: str, data: bytes, *, timeout_s: float) -> list[bytes]:
        """See the port. Returns early when everybody who was asked has answered."""
        return await self._ask(subject, data, timeout_s, wanted=None)

    async def close(self) -> None:
        """See the port. What was sent arrives."""
        for following in list(self._followings):
            await following.close()
        self._server.forget(self)
        self._closed.set()
        self.session.end(len(self.session.up))
        for task in list(self._answering):
            task.cancel()

    async def connected(self) -> None:
        """See the port."""
        while not self.is_connected:
            await self._mended.wait()

    async def closed(self) -> None:
        """See the port."""
        await self._closed.wait()

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

    # --- requests ---

    async def _ask(
        self, subject: str, data: bytes, timeout_s: float, *, wanted: int | None
    ) -> list[bytes]:
        self._check_reachable()
        asking = Asking(wanted=wanted)
        self.session.up.send(self._server.route, self.session, asking, subject, data)
        try:
            async with asyncio.timeout(timeout_s):
                await asking.enough.wait()
        except TimeoutError:
            pass
        return asking.answers[:wanted]

    def start_answer(self, answerer: Answerer, asker: Session, asking: Asking, data: bytes) -> None:
        """Answer a request of another connection in a task of its own."""
        if self._closed.is_set():
            return
        task = asyncio.ensure_future(self._answer(answerer, asker, asking, data))
        self._answering[task] = None
        task.add_done_callback(lambda done: self._answering.pop(done, None))

    async def _answer(
        self, answerer: Answerer, asker: Session, asking: Asking, data: bytes
    ) -> None:
        try:
            answer = await answerer(data)
        except Exception:  # noqa: BLE001  # as over a network: no answer, and a log line
            _log.exception("a request was not answered")
            return
        if self.is_connected:
            self.session.up.send(asker.down.send, asking.answered, answer)

    # --- inside ---

    def deliver(self, handler: Handler, data: bytes) -> None:
        """Hand a published message to the subscriber's handler."""
        if self._server.weather is not None:
            handler(data)
        else:  # not within the publisher's call
            asyncio.get_running_loop().call_soon(self._deliver_soon, handler, data)

    def _deliver_soon(self, handler: Handler, data: bytes) -> None:
        if self.is_connected:
            handler(data)

    def _check_connected(self) -> None:
        if not self.is_connected:
            raise Disconnected("there is no connection")

    def _check_reachable(self) -> None:
        if not self.is_connected:
            raise NoResponse("there is no connection")


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
