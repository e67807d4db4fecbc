"""Following a stream in memory: the consumer at the server, and what has arrived of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from broker.memory_jetstream import JetStream, Stream
from broker.memory_link import Session
from broker.port import BrokerFault, BrokerUnfit, StoredMessage

_RETRY_S: Final = 0.2
_YIELDED_MESSAGES_MAX: Final = 64


class MemoryFollowing:
    """Port `Following`. The connection calls `attach` at the server for each session."""

    def __init__(
        self,
        server: JetStream,
        stream: str,
        *,
        after: StoredMessage | None,
        may_rewind: bool,
        on_close: Callable[["MemoryFollowing"], None],
    ) -> None:
        self._server = server
        self._name = stream
        self._last = after
        self._may_rewind = may_rewind
        self._on_close = on_close
        self._stream: Stream | None = None
        """Where it is a reading of now."""
        self._session: Session | None = None
        self._sent_sequence = 0
        self._buffer: list[StoredMessage] = []
        self._arrived = asyncio.Event()
        self._fault: BrokerFault | None = None
        self._is_closed = False

    @property
    def backlog(self) -> int:
        """See the port."""
        return len(self._buffer)

    async def __aiter__(self) -> AsyncIterator[list[StoredMessage]]:
        """See the port."""
        while True:
            while not self._buffer:
                if self._fault is not None:
                    raise self._fault
                if self._is_closed:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            messages = self._buffer[:_YIELDED_MESSAGES_MAX]
            del self._buffer[:_YIELDED_MESSAGES_MAX]
            yield messages

    async def close(self) -> None:
        """See the port."""
        self._is_closed = True
        self.detach()
        self._on_close(self)
        self._arrived.set()

    # --- at the server ---

    def attach(self, session: Session) -> None:
        """Deliver to this session from now on. Raise BrokerUnfit if the stream lost messages."""
        self.detach()
        if self._is_closed:
            return
        if self._may_rewind:
            self._server.restore(self._name)
        stream = self._server.stream(self._name)
        if self._last is not None and not stream.holds(self._last):
            if not self._may_rewind:
                raise BrokerUnfit(f"{self._name} no longer holds message {self._last.sequence}")
            self._last = None
        self._session, self._stream = session, stream
        self._sent_sequence = 0 if self._last is None else self._last.sequence
        stream.readings.append(self)
        self.deliver()

    def attach_again(self, session: Session) -> None:
        """Attach after a reconnect: again and again, or end the iteration with the fault."""
        try:
            self.attach(session)
        except BrokerUnfit as fault:
            self._fault = fault
            self._arrived.set()
        except BrokerFault:
            asyncio.get_running_loop().call_later(
                _RETRY_S, session.up.send, self.attach_again, session
            )

    def detach(self) -> None:
        """The session is over; what is still on its way to it does not count."""
        if self._stream is not None:
            self._stream.readings.remove(self)
            self._stream = self._session = None

    def deliver(self) -> None:
        """See `Reading`."""
        if self._stream is None or self._session is None:
            return
        messages = self._stream.not_read(self._sent_sequence)
        if messages:
            self._sent_sequence = len(self._stream.messages)
            self._session.down.send(self._arrive, self._session, messages)

    def look_again(self) -> None:
        """See `Reading`."""
        if self._session is not None:
            self.attach_again(self._session)

    # --- at the client ---

    def _arrive(self, session: Session, messages: list[StoredMessage]) -> None:
        if session is self._session:
            self._last = messages[-1]
            self._buffer += messages
            self._arrived.set()
