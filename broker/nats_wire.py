"""nats-py's client over a connection on which what is sent after it broke is lost.

That it broke is told by reading, a turn or two of the event loop after it is so. Who published,
subscribed or closed in between was raised what the loop's transport makes of it, a RuntimeError of
uvloop or a ConnectionError of asyncio, which ended a whole process as a bug. Lost it may be on any
connection at any time, and whoever must know what became of it waits for an answer.
"""

from collections.abc import Iterable
from contextlib import suppress

import nats.aio.client
from nats.aio.transport import TcpTransport


class Wire(TcpTransport):
    """nats-py's own, but that who writes is told of no loss."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __bool__(self) -> bool:
        """Whether nats-py need not make one of its own, also before it is connected."""
        return True

    def write(self, payload: bytes) -> None:
        """Send it, if there is a way."""
        self.writelines([payload])

    def writelines(self, payload: Iterable[bytes]) -> None:
        """Send them, if there is a way."""
        if self._io_writer is not None and not self._io_writer.is_closing():
            self._io_writer.writelines(payload)

    async def drain(self) -> None:
        """Wait until there is room for more."""
        if self._io_writer is not None:
            with suppress(OSError):  # as a ConnectionError, a timeout, or no route
                await self._io_writer.drain()


class Client(nats.aio.client.Client):
    """A client over a Wire."""

    def __init__(self) -> None:
        super().__init__()
        self._transport = Wire()
