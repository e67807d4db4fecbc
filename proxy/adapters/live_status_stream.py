"""Pushes the picture of the wallet, once a second and only while somebody looks.

Writers, readers and proxies tell how they are when they are asked, so somebody has to ask. That is
this process, once a second for all who look together, and not at all while nobody does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import orjson

from proxy.adapters.http_responses import HeaderLines, stream_head
from proxy.adapters.live_event_stream import FAREWELL_S
from proxy.adapters.live_outflow import Outflow, no_form
from proxy.core.picture import Picture

_log = logging.getLogger(__name__)

EVERY_S: Final = 1.0


class PictureListener:
    """One answer that does not end by itself. Who reads slowly gets the next picture instead."""

    def __init__(self, transport: asyncio.WriteTransport, headers: HeaderLines) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self.outflow = Outflow(transport, no_form, self.go_away)
        self.outflow.send(stream_head(headers))

    def tell(self, event: bytes) -> None:
        """Send a picture, if there is room."""
        if not self.outflow.is_paused:
            self.outflow.send(event)

    async def ended(self) -> None:
        """Return when the client has gone."""
        await self._ended.wait()

    def go_away(self) -> None:
        """The process ends, or nothing was read for long; the client comes back by itself."""
        self.close()
        self._transport.close()
        self._loop.call_later(FAREWELL_S, self._transport.abort)

    def close(self) -> None:
        """Send nothing more."""
        self.outflow.close()
        self._ended.set()


class PictureFeed:
    """Takes pictures by `look` while there are listeners. One per process."""

    def __init__(self, look: Callable[[], Awaitable[Picture]]) -> None:
        self._look = look
        self._listeners: set[PictureListener] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def is_looking(self) -> bool:
        """Whether anybody is asked anything just now."""
        return self._looking is not None

    async def serve(self, listener: PictureListener) -> None:
        """Show the pictures to a listener until it goes."""
        self._listeners.add(listener)
        if self._looking is None:
            self._looking = asyncio.create_task(self._keep_looking())
        try:
            await listener.ended()
        finally:
            self._listeners.discard(listener)
            if not self._listeners and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _keep_looking(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            next_at = loop.time() + EVERY_S
            try:
                event = b"event: picture\ndata: %b\n\n" % orjson.dumps(await self._look())
            except Exception:  # noqa: BLE001  # logged; who looks shall see the next one
                _log.exception("no picture could be taken")
            else:
                for listener in list(self._listeners):
                    listener.tell(event)
            await asyncio.sleep(max(0.0, next_at - loop.time()))
