"""Messages and requests in memory: who gets what is published, and who answers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from broker.memory_jetstream import JetStream
from broker.memory_link import Session, Weather
from broker.memory_snapshots import MemorySnapshots

Handler = Callable[[bytes], None]
Answerer = Callable[[bytes], Awaitable[bytes | None]]


class Connection(Protocol):
    """What a server must know of a connection."""

    session: Session

    @property
    def is_connected(self) -> bool:
        """Whether anything can reach it."""
        ...

    def deliver(self, handler: Handler, data: bytes) -> None:
        """A published message has arrived."""
        ...

    def tell_loss(self, stream: str | None) -> None:
        """A queue takes again what it did not take before."""
        ...

    def start_answer(
        self, answerer: Answerer, asker: Session, asking: "Asking", data: bytes
    ) -> None:
        """A request has arrived."""
        ...


class Asking:
    """One request and the answers that came so far."""

    def __init__(self, *, wanted: int | None) -> None:
        self.answers: list[bytes] = []
        self.enough = asyncio.Event()
        self._wanted = wanted
        """None: everybody's."""

    def asked(self, count: int) -> None:
        """So many are asked."""
        self._wanted = min(count, self._wanted or count)
        if not count:
            self.enough.set()

    def answered(self, answer: bytes) -> None:
        """One of them has answered."""
        self.answers.append(answer)
        if len(self.answers) >= (self._wanted or 0):
            self.enough.set()


@dataclass(eq=False)
class _Subscribed:
    """Port `Subscription`."""

    connection: Connection
    is_ended: bool = field(default=False, init=False)

    async def end(self) -> None:
        """See the port."""
        self.is_ended = True


@dataclass(eq=False)
class Service(_Subscribed):
    """Who answers requests on a subject."""

    queue: str
    answerer: Answerer


@dataclass(eq=False)
class Subscription(_Subscribed):
    """Who gets what is published on a subject."""

    handler: Handler


class Exchange(JetStream):
    """What the connections share: streams, subscriptions, services."""

    def __init__(self, now_ns: Callable[[], int], weather: Weather | None = None) -> None:
        """now_ns gives the Unix time that stored messages are stamped with."""
        super().__init__(now_ns, weather)
        self.partition_count: int | None = None
        """Of the wallet that made its streams here."""
        self.slot_map: bytes | None = None
        """As stored: what a wallet's first writer put there."""
        self.snapshots = MemorySnapshots()
        self.subscriptions: dict[str, list[Subscription]] = {}
        self.services: dict[str, list[Service]] = {}
        self.listening: list[Connection] = []
        """Who wants to know that a queue takes messages again."""
        self._turns: dict[str, int] = {}

    def publish(self, subject: str, data: bytes) -> None:
        """Store a message where a stream takes it, and hand it to the subscribers."""
        self.store(subject, data)
        subscriptions = self.subscriptions.get(subject, [])
        subscriptions[:] = [each for each in subscriptions if not each.is_ended]
        for subscription in subscriptions:
            subscription.connection.session.down.publish(
                subscription.connection.deliver, subscription.handler, data
            )

    def elect(self, name: str) -> None:
        """See JetStream. Those are told that want to know."""
        super().elect(name)
        for connection in self.listening:
            connection.session.down.send(connection.tell_loss, name)

    def route(self, asker: Session, asking: "Asking", subject: str, data: bytes) -> None:
        """Hand a request to who answers it."""
        services = self._answerers(subject)
        asking.asked(len(services))
        for service in services:
            connection = service.connection
            connection.session.down.send(
                connection.start_answer, service.answerer, asker, asking, data
            )

    def _answerers(self, subject: str) -> list[Service]:
        """Who gets a request: every service without a group, and one member of each group."""
        chosen, groups = [], dict[str, list[Service]]()
        for service in self.services.get(subject, []):
            if service.is_ended or not service.connection.is_connected:
                continue
            if service.queue:
                groups.setdefault(service.queue, []).append(service)
            else:
                chosen.append(service)
        for queue, members in groups.items():
            turn = self._turns.get(f"{subject} {queue}", 0)
            self._turns[f"{subject} {queue}"] = turn + 1
            chosen.append(members[turn % len(members)])
        return chosen

    def forget(self, connection: Connection) -> None:
        """Drop what a closed connection listened to."""
        self.listening = [each for each in self.listening if each is not connection]
        for subscriptions in self.subscriptions.values():
            subscriptions[:] = [s for s in subscriptions if s.connection is not connection]
        for services in self.services.values():
            services[:] = [s for s in services if s.connection is not connection]
