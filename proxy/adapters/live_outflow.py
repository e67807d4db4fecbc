"""What one connection that watches accounts is told, and what happens when it reads too slowly.

News is encoded once per form, whoever is told, and written straight to the transport. While its
buffer is full, news waits in a queue; when that is full too, only the newest of each account is
kept, and sent with a word about it when there is room again. Who reads nothing for long is told why
and cut off.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Final

import orjson

from contracts.limits import REPLAY_CHANGES_MAX
from proxy.core.live_messages import live_message
from proxy.core.watch import Changed, News, Refused, Standing
from proxy.ports import Telling

OUTFLOW_BYTES_MAX: Final = 64 * 1_024
"""Written and not taken by the kernel; more is not written."""

UNSENT_BYTES_MAX: Final = 16 * 1_024
"""Taken by the kernel and not sent. By default it takes megabytes: where a client reads slowly all
the time, nothing would move for longer than STUCK_S, and pings would wait behind them."""

OUTFLOW_NEWS_MAX: Final = REPLAY_CHANGES_MAX + 24
"""News that waits to be written: a whole replay of an account, and some."""

STUCK_S: Final = 10.0
"""Who takes nothing for so long, while something waits, is cut off."""

Form = Callable[[bytes, News], bytes]
"""Message in JSON, and what it tells, to bytes on the wire."""


def no_form(message: bytes, _: News) -> bytes:
    """For who is sent bytes only."""
    return message


class Outflow:
    """The way to one client."""

    __slots__ = (
        "_form",
        "_is_closed",
        "_is_paused",
        "_kept",
        "_left",
        "_loop",
        "_on_stuck",
        "_queue",
        "_room",
        "_timer",
        "_transport",
    )

    def __init__(
        self, transport: asyncio.WriteTransport, form: Form, on_stuck: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._form = form
        self._on_stuck = on_stuck
        self._loop = asyncio.get_running_loop()
        self._is_paused = self._is_closed = False
        self._queue: deque[Telling] = deque()
        """What waits for room, while it is little."""
        self._kept: dict[str, tuple[Telling, bool]] = {}
        """By account what waits, when it was too much, and whether something before is left out."""
        self._room: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0
        """Bytes that nobody had taken when it was last looked at."""
        transport.set_write_buffer_limits(high=OUTFLOW_BYTES_MAX)
        _bound_unsent(transport)

    @property
    def is_paused(self) -> bool:
        """Whether the client has yet to take what was sent."""
        return self._is_paused

    def tell(self, telling: Telling) -> None:
        """Send news, or let it wait while there is no room."""
        if not self._is_paused:
            if not self._is_closed:
                self._transport.write(self._encoded(telling, is_conflated=False))
        elif self._kept:
            self._keep(telling)
        else:
            self._queue.append(telling)
            if len(self._queue) > OUTFLOW_NEWS_MAX:
                self._conflate()

    def forget(self, account_id: str) -> None:
        """Drop what waits of an account."""
        self._kept.pop(account_id, None)
        if self._queue:
            self._queue = deque(
                each for each in self._queue if _account_of(each.news) != account_id
            )

    def send(self, data: bytes) -> None:
        """Send something else: what it was asked for, and bounded therefore."""
        if not self._is_closed:
            self._transport.write(data)

    async def room(self) -> None:
        """Return when there is room: who does not read is not read from."""
        while self._is_paused and not self._is_closed:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    # --- told by the connection ---

    def pause(self) -> None:
        """The buffer is full."""
        self._is_paused = True
        self._watch_over()

    def resume(self) -> None:
        """The buffer has emptied."""
        self._is_paused = False
        self._stop_watching()
        while self._queue and not self._is_paused:
            self._transport.write(self._encoded(self._queue.popleft(), is_conflated=False))
        while self._kept and not self._is_paused:
            account_id = next(iter(self._kept))
            telling, is_conflated = self._kept.pop(account_id)
            self._transport.write(self._encoded(telling, is_conflated=is_conflated))
        if not self._is_paused:
            self._wake()

    def close(self) -> None:
        """Nothing more is sent."""
        self._is_closed = True
        self._queue.clear()
        self._kept.clear()
        self._stop_watching()
        self._wake()

    # --- inside ---

    def _conflate(self) -> None:
        """Keep the newest of each account only, until all that waits is sent."""
        while self._queue:
            self._keep(self._queue.popleft())

    def _keep(self, telling: Telling) -> None:
        account_id = _account_of(telling.news)
        self._kept[account_id] = (telling, account_id in self._kept)

    def _encoded(self, telling: Telling, *, is_conflated: bool) -> bytes:
        name = f"{self._form.__name__} {is_conflated}"
        encoded = telling.encoded.get(name)
        if encoded is None:
            message = live_message(telling.news, is_conflated=is_conflated)
            encoded = self._form(orjson.dumps(message), telling.news)
            telling.encoded[name] = encoded
        return encoded

    def _watch_over(self) -> None:
        self._left = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(STUCK_S, self._look)

    def _look(self) -> None:
        if self._transport.get_write_buffer_size() < self._left:
            self._watch_over()
        else:
            self._on_stuck()

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None


def _bound_unsent(transport: asyncio.WriteTransport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES_MAX)


def _account_of(news: News) -> str:
    match news:
        case Standing() | Changed():
            return news.terms.account_id
        case Refused():
            return news.account_id
