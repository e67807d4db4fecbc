"""The broker port in memory: one server, many connections, no network and no clock of its own.

For tests and simulations. It keeps the port's promises: streams are ordered, an append expects
the last sequence, what one connection sends arrives in that order, a request goes to one member
of a queue group. A connection can be cut and mended, a stream can lose its tail as a broker's
memory stream does in a crash.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from broker.port import (
    AppendRefused,
    BrokerFault,
    BrokerUnfit,
    Disconnected,
    NoResponse,
    StoredMessage,
    StreamState,
)
from contracts.subjects import (
    command_stream,
    command_subject,
    journal_stream,
    journal_subject,
)

_log = logging.getLogger(__name__)

Handler = Callable[[bytes], None]
Answerer = Callable[[bytes], Awaitable[bytes]]


@dataclass
class _Stream:
    subject: str
    messages: list[StoredMessage] = field(default_factory=list)
    lost: int = 0
    """How often it lost messages: a reading that saw another number must look again."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def notify(self) -> None:
        """Wake everybody who waits for a change: each waits on the event of its time."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(eq=False)
class _Service:
    connection: "MemoryBroker"
    queue: str
    answerer: Answerer


@dataclass(eq=False)
class _Subscription:
    connection: "MemoryBroker"
    handler: Handler


class MemoryServer:
    """What the connections share: streams, subscriptions, services."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        """now_ns gives the Unix time that stored messages are stamped with."""
        self.now_ns = now_ns
        self.partition_count: int | None = None
        """Of the wallet that made its streams here."""
        self.streams: dict[str, _Stream] = {}
        self._subjects: dict[str, str] = {}
        self.subscriptions: dict[str, list[_Subscription]] = {}
        self.services: dict[str, list[_Service]] = {}
        self.turns: dict[str, int] = {}

    def add_stream(self, name: str, subject: str) -> None:
        """Make a stream that stores what is sent to a subject, if it is not there yet."""
        self._subjects[name] = subject
        self.streams.setdefault(name, _Stream(subject))

    def lose_stream(self, name: str) -> None:
        """Forget a stream altogether, as a server that is started again forgets one in memory."""
        self.streams.pop(name).notify()

    def restore(self, name: str) -> None:
        """Make a stream again that was there before."""
        if name not in self.streams:
            self.add_stream(name, self._subjects[name])

    def connect(self) -> "MemoryBroker":
        """A new connection."""
        return MemoryBroker(self)

    def lose_tail(self, name: str, count: int) -> None:
        """Forget the last messages of a stream; their sequences are handed out again."""
        stream = self.streams[name]
        del stream.messages[len(stream.messages) - count :]
        stream.lost += 1
        stream.notify()

    def forget(self, connection: "MemoryBroker") -> None:
        """Drop what a closed connection listened to."""
        for subscriptions in self.subscriptions.values():
            subscriptions[:] = [s for s in subscriptions if s.connection is not connection]
        for services in self.services.values():
            services[:] = [s for s in services if s.connection is not connection]

    def stream(self, name: str) -> _Stream:
        """The stream, or BrokerFault if there is none."""
        if name not in self.streams:
            raise BrokerFault(f"{name}: stream not found")
        return self.streams[name]

    def answerers(self, subject: str) -> list[_Service]:
        """Who gets a request: every service without a group, and one member of each group."""
        chosen, groups = [], dict[str, list[_Service]]()
        for service in self.services.get(subject, []):
            if not service.connection.is_connected:
                continue
            if service.queue:
                groups.setdefault(service.queue, []).append(service)
            else:
                chosen.append(service)
        for queue, members in groups.items():
            turn = self.turns.get(f"{subject} {queue}", 0)
            self.turns[f"{subject} {queue}"] = turn + 1
            chosen.append(members[turn % len(members)])
        return chosen


class MemoryFollowing:
    """Port `Following`."""

    def __init__(
        self,
        connection: "MemoryBroker",
        stream: _Stream,
        *,
        after: StoredMessage | None,
        may_rewind: bool,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._may_rewind = may_rewind
        self._last = after
        self._lost = stream.lost - 1  # `after` is looked for before anything is read
        self._is_closed = False

    @property
    def backlog(self) -> int:
        """See the port."""
        return len(self._stream.messages) - (self._last.sequence if self._last else 0)

    async def __aiter__(self) -> AsyncIterator[list[StoredMessage]]:
        """See the port."""
        while not self._is_closed:
            changed, mended = self._stream.changed, self._connection.changed
            messages = self._take() if self._connection.is_connected else []
            if messages:
                yield messages
            else:
                await _first_of(changed, mended)

    def _take(self) -> list[StoredMessage]:
        self._check_rewind()
        messages = self._stream.messages[self._last.sequence if self._last else 0 :]
        if messages:
            self._last = messages[-1]
        return messages

    def _check_rewind(self) -> None:
        if self._lost == self._stream.lost:
            return
        last, messages = self._last, self._stream.messages
        if last is not None and last not in messages[last.sequence - 1 : last.sequence]:
            if not self._may_rewind:
                raise BrokerUnfit(f"{self._stream.subject} no longer holds {last.sequence}")
            self._last = None
        self._lost = self._stream.lost

    async def close(self) -> None:
        """See the port."""
        self._is_closed = True
        self._stream.notify()


class MemoryBroker:
    """Port `Broker`: one connection to a MemoryServer."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._is_cut = False
        self._closed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._followings: list[MemoryFollowing] = []
        self.changed = asyncio.Event()
        """Set, and replaced by another, when the connection is cut, mended or closed."""

    # --- faults, for tests ---

    def cut(self) -> None:
        """Lose the connection; nothing is sent or received until `mend`."""
        self._is_cut = True
        self._notify()

    def mend(self) -> None:
        """Have the connection back."""
        self._is_cut = False
        self._notify()

    # --- the port ---

    @property
    def is_connected(self) -> bool:
        """See the port."""
        return not self._is_cut and not self._closed.is_set()

    async def publish(self, subject: str, data: bytes) -> None:
        """See the port."""
        self._send(subject, data)

    async def append(
        self, subject: str, data: bytes, *, expected_last_sequence: int
    ) -> asyncio.Future[int]:
        """See the port."""
        self._check_connected()
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        stream = next((s for s in self._server.streams.values() if s.subject == subject), None)
        if stream is None:
            answer.set_exception(AppendRefused(f"no stream stores {subject}"))
        elif len(stream.messages) != expected_last_sequence:
            why = f"{subject}: last sequence {len(stream.messages)}, not {expected_last_sequence}"
            answer.set_exception(AppendRefused(why))
        else:
            self._send(subject, data)
            answer.set_result(len(stream.messages))
        return answer

    async def provide_streams(self, partition_count: int) -> None:
        """See the port."""
        self._check_reachable()
        if self._server.partition_count not in (None, partition_count):
            raise BrokerUnfit(f"a wallet of {self._server.partition_count} partitions is here")
        self._server.partition_count = partition_count
        for partition in range(partition_count):
            self._server.add_stream(journal_stream(partition), journal_subject(partition))
            self._server.add_stream(command_stream(partition), command_subject(partition))

    async def restore_queue(self, stream: str) -> None:
        """See the port."""
        self._check_reachable()
        self._server.restore(stream)

    async def follow(
        self, stream: str, *, after: StoredMessage | None, may_rewind: bool = False
    ) -> MemoryFollowing:
        """See the port."""
        self._check_connected()
        following = MemoryFollowing(
            self, self._server.stream(stream), after=after, may_rewind=may_rewind
        )
        self._followings.append(following)
        return following

    async def stream_state(self, stream: str) -> StreamState:
        """See the port."""
        self._check_reachable()
        count = len(self._server.stream(stream).messages)
        return StreamState(first_sequence=1 if count else 0, last_sequence=count)

    async def stored_message(self, stream: str, sequence: int) -> StoredMessage | None:
        """See the port."""
        self._check_reachable()
        messages = self._server.stream(stream).messages
        return messages[sequence - 1] if 1 <= sequence <= len(messages) else None

    async def subscribe(self, subject: str, handler: Handler) -> None:
        """See the port."""
        self._check_connected()
        subscription = _Subscription(self, handler)
        self._server.subscriptions.setdefault(subject, []).append(subscription)

    async def serve(self, subject: str, handler: Answerer, *, queue: str = "") -> None:
        """See the port."""
        self._check_connected()
        service = _Service(self, queue, handler)
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
        """See the port."""
        for following in self._followings:
            await following.close()
        self._server.forget(self)
        self._closed.set()
        self._notify()
        for task in self._tasks:
            task.cancel()

    async def connected(self) -> None:
        """See the port."""
        while not self.is_connected:
            await self.changed.wait()

    async def closed(self) -> None:
        """See the port."""
        await self._closed.wait()

    async def __aenter__(self) -> Self:
        """A connection can be used as a context that closes it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- inside ---

    def _send(self, subject: str, data: bytes) -> None:
        """Store the message where a stream takes it, and hand it to the subscribers."""
        self._check_connected()
        for stream in self._server.streams.values():
            if stream.subject == subject:
                sequence = len(stream.messages) + 1
                stream.messages.append(StoredMessage(sequence, self._server.now_ns(), data))
                stream.notify()
        loop = asyncio.get_running_loop()
        for subscription in self._server.subscriptions.get(subject, []):
            loop.call_soon(_deliver, subscription, data)

    async def _ask(
        self, subject: str, data: bytes, timeout_s: float, *, wanted: int | None
    ) -> list[bytes]:
        self._check_reachable()
        services = self._server.answerers(subject)
        answers: list[bytes] = []
        enough = asyncio.Event()

        async def answer(service: _Service) -> None:
            try:
                answers.append(await service.answerer(data))
            except Exception:  # noqa: BLE001  # as over a network: no answer, and a log line
                _log.exception("%s: a request was not answered", subject)
                return
            if len(answers) >= (wanted or len(services)):
                enough.set()

        for service in services:
            service.connection.start(answer(service))
        try:
            async with asyncio.timeout(timeout_s if services else 0):
                await enough.wait()
        except TimeoutError:
            pass
        return answers[:wanted]

    def start(self, work: Awaitable[None]) -> None:
        """Run an answer as this connection's own task."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check_connected(self) -> None:
        if not self.is_connected:
            raise Disconnected("there is no connection")

    def _check_reachable(self) -> None:
        if not self.is_connected:
            raise NoResponse("there is no connection")

    def _notify(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


def _deliver(subscription: _Subscription, data: bytes) -> None:
    if subscription.connection.is_connected:
        subscription.handler(data)


async def _first_of(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
