"""Messages and requests of one connection to the broker in memory."""

import asyncio
import logging
from collections.abc import Callable

from broker.memory_exchange import Answerer, Asking, Exchange, Handler, Service, Subscription
from broker.memory_link import Session
from broker.port import Disconnected, NoResponse

_log = logging.getLogger(__name__)


class MemoryMessages:
    """What a `MemoryBroker` sends and hears that no stream need take."""

    def __init__(self, server: Exchange) -> None:
        self._server = server
        self.session = Session(server.weather)
        """The present TCP connection; a new one after each cut."""
        self._is_cut = False
        self._closed = asyncio.Event()
        self._bug: Exception | None = None
        self._mended = asyncio.Event()
        self._loss_handlers: list[Callable[[str | None], None]] = []
        self._answering: dict[asyncio.Task[None], None] = {}

    @property
    def is_connected(self) -> bool:
        """See the port."""
        return not self._is_cut and not self._closed.is_set()

    async def publish(self, subject: str, data: bytes) -> None:
        """See the port."""
        self._check_connected()
        self.session.up.publish(self._server.publish, subject, data)

    async def subscribe(self, subject: str, handler: Handler) -> Subscription:
        """See the port."""
        self._check_connected()
        subscription = Subscription(self, handler)
        self._server.subscriptions.setdefault(subject, []).append(subscription)
        return subscription

    async def serve(self, subject: str, handler: Answerer, *, queue: str = "") -> Service:
        """See the port."""
        self._check_connected()
        service = Service(self, queue, handler)
        self._server.services.setdefault(subject, []).append(service)
        return service

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """See the port."""
        answers = await self._ask(subject, data, timeout_s, wanted=1)
        if not answers:
            raise NoResponse(f"{subject}: nobody answered")
        return answers[0]

    async def request_all(self, subject: str, data: bytes, *, timeout_s: float) -> list[bytes]:
        """See the port. Returns early when everybody who was asked has answered."""
        return await self._ask(subject, data, timeout_s, wanted=None)

    def on_loss(self, handler: Callable[[str | None], None]) -> None:
        """See the port."""
        if not self._loss_handlers:
            self._server.listening.append(self)
        self._loss_handlers.append(handler)

    def tell_loss(self, stream: str | None) -> None:
        """Tell this process that what it published may be lost."""
        for handler in self._loss_handlers:
            handler(stream)

    async def connected(self) -> None:
        """See the port."""
        while not self.is_connected:
            await self._mended.wait()

    async def closed(self) -> None:
        """See the port."""
        await self._closed.wait()
        if self._bug is not None:
            raise self._bug

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
        if answer is not None and self.is_connected:
            self.session.up.send(asker.down.send, asking.answered, answer)

    # --- inside ---

    def deliver(self, handler: Handler, data: bytes) -> None:
        """Hand a published message to the subscriber's handler."""
        if self._server.weather is not None:
            self._handle(handler, data)
        else:  # not within the publisher's call
            asyncio.get_running_loop().call_soon(self._deliver_soon, handler, data)

    def _deliver_soon(self, handler: Handler, data: bytes) -> None:
        if self.is_connected:
            self._handle(handler, data)

    def _handle(self, handler: Handler, data: bytes) -> None:
        try:
            handler(data)
        except Exception as bug:  # noqa: BLE001  # raised by `closed`
            self._bug = bug
            self._closed.set()

    def _check_connected(self) -> None:
        if not self.is_connected:
            raise Disconnected("there is no connection")

    def _check_reachable(self) -> None:
        if not self.is_connected:
            raise NoResponse("there is no connection")
