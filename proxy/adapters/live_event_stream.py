"""Watching one account over Server-Sent Events (WHATWG HTML, section 9.2).

Each event has the sequence as its id, so a browser that reconnects says in `Last-Event-ID` where
to go on. The answer begins with the first news: if an account can't be watched, it is a problem.
"""

import asyncio
from typing import Final

from aiohttp import web

from proxy.adapters.http_responses import HeaderLines, stream_head
from proxy.adapters.live_outflow import Outflow
from proxy.core.problems import BY_MISSING, NO_ANSWER, NO_ROOM_TO_WATCH, Problem
from proxy.core.watch import Changed, News, Refused, Standing
from proxy.ports import NoRoomToWatch, Telling, Watches

HEARTBEAT_S: Final = 15.0
"""Between two comment lines, which keep connections alive through what stands between."""

FIRST_NEWS_S: Final = 10.0
"""How long the first news may take."""

FAREWELL_S: Final = 5.0

_HEARTBEAT: Final = b":\n\n"
_STUCK: Final = b": too slow: nothing was read for 10 s\n\n"
_GOING_AWAY: Final = b": the wallet is restarted\n\n"


def event(message: bytes, news: News) -> bytes:
    """A message as one event. JSON has no line ends."""
    match news:
        case Standing():
            return b"id: %d\nevent: state\ndata: %b\n\n" % (news.sequence, message)
        case Changed():
            return b"id: %d\nevent: change\ndata: %b\n\n" % (news.change.sequence, message)
        case Refused():
            return b"event: refused\ndata: %b\n\n" % message


class EventStreamListener:
    """Port `Listener`: one answer, with these headers, that does not end by itself."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        watches: Watches,
        account_id: str,
        headers: HeaderLines,
    ) -> None:
        self._transport = transport
        self._headers = headers
        self._watches = watches
        self._account_id = account_id
        self._loop = asyncio.get_running_loop()
        self._is_watching = False
        self._first: list[Telling] | None = []
        """What was told before the answer has begun."""
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.outflow = Outflow(transport, event, self._give_up)

    def tell(self, telling: Telling) -> None:
        """See the port."""
        if isinstance(telling.news, Refused):
            self._is_watching = False
        if self._first is None:
            self.outflow.tell(telling)
        else:
            self._first.append(telling)
            self._news.set()

    async def serve(self, from_sequence: int | None) -> Problem | None:
        """Tell until the client goes; a problem if nothing can be told."""
        try:
            problem = await self._hear(from_sequence)
            if problem is None:
                self._begin()
                await self._ended.wait()
            return problem
        finally:
            self.close()

    async def look(self, from_sequence: int | None) -> Problem | None:
        """The problem if nothing could be told; tell nothing."""
        try:
            return await self._hear(from_sequence)
        finally:
            self.close()

    def go_away(self) -> None:
        """The process ends; the client comes back by itself."""
        self._part(_GOING_AWAY)

    def close(self) -> None:
        """Watch nothing more."""
        self.outflow.close()
        self._ended.set()
        self._news.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._is_watching:
            self._is_watching = False
            self._watches.unwatch(self, self._account_id)

    async def _hear(self, from_sequence: int | None) -> Problem | None:
        """Watch, and wait for the first news."""
        self._is_watching = True
        try:
            self._watches.watch(self, self._account_id, from_sequence)
            async with asyncio.timeout(FIRST_NEWS_S):
                await self._news.wait()
        except NoRoomToWatch:
            self._is_watching = False
            return Problem(NO_ROOM_TO_WATCH)
        except TimeoutError:
            return Problem(NO_ANSWER)
        if self._first and isinstance(self._first[0].news, Refused):
            return Problem(BY_MISSING[self._first[0].news.missing])
        return None

    def _begin(self) -> None:
        """Answer with what was heard so far."""
        first, self._first = self._first, None
        if not first:
            return  # the client has gone meanwhile
        self.outflow.send(stream_head(self._headers))
        for telling in first:
            self.outflow.tell(telling)
        self._beat()

    def _give_up(self) -> None:
        self._part(_STUCK)

    def _part(self, comment: bytes) -> None:
        """Say why it ends to whoever looks at the bytes; an EventSource has no other way."""
        if self._first is None:
            self.outflow.send(comment)
        self.close()
        self._transport.close()
        self._loop.call_later(FAREWELL_S, self._transport.abort)

    def _beat(self) -> None:
        self.outflow.send(_HEARTBEAT)
        self._timer = self._loop.call_later(HEARTBEAT_S, self._beat)


class Streamed(web.StreamResponse):
    """An answer that was written already, and ended with its connection."""

    async def prepare(self, _request: web.BaseRequest) -> None:
        """Nothing is left to write."""
        self.force_close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""
        assert not data
