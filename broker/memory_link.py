"""The way between a connection and the broker in memory: what is sent on it, when it arrives.

Without a weather everything arrives at once, while the sender waits. With one, each message takes
its time, and what TCP keeps is kept: a session's messages arrive in the order in which they were
sent, each once, and all up to some point. Only a `Weather` knows chance; here is none.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Action = Callable[..., None]


class Weather(Protocol):
    """How long things take, and what becomes of messages that nobody acknowledges."""

    def hop_s(self) -> float:
        """Seconds that one message takes between a connection and the server."""
        ...

    def disk_s(self) -> float:
        """Seconds until an append that has arrived is durable."""
        ...

    def copies_s(self) -> Sequence[float]:
        """What becomes of one published message: how late each copy leaves; none: it is lost."""
        ...

    def loses_acknowledgement(self) -> bool:
        """Whether the acknowledgement of an append never leaves the server."""
        ...

    def survivors(self, count: int) -> int:
        """How many of so many unacknowledged appends a crash of the server leaves, in order."""
        ...

    def queue_survivors(self, count: int) -> int | None:
        """How many of a memory stream's messages a crash leaves; None: the stream is gone."""
        ...


class Lane:
    """One direction: actions happen one after the other, each some seconds after it was sent."""

    def __init__(self, weather: Weather | None) -> None:
        self._weather = weather
        self._sent: deque[tuple[float, Action, tuple[Any, ...]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._held_until_s = 0.0
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._sent)

    def push(self, delay_s: float, action: Action, *args: Any) -> None:
        """Let an action happen after a delay and after those before it; never if it is closed."""
        if self._is_closed:
            return
        if self._weather is None:
            action(*args)
            return
        at_s = asyncio.get_running_loop().time() + delay_s
        if self._sent:
            at_s = max(at_s, self._sent[-1][0])
        self._sent.append((at_s, action, args))
        if self._timer is None:
            self._set_timer()

    def send(self, action: Action, *args: Any) -> None:
        """Push what takes a hop."""
        self.push(0.0 if self._weather is None else self._weather.hop_s(), action, *args)

    def publish(self, action: Action, *args: Any) -> None:
        """Send what may get lost, come late or come twice."""
        if self._weather is None:
            action(*args)
            return
        for late_s in self._weather.copies_s():
            if late_s > 0:
                asyncio.get_running_loop().call_later(late_s, self.send, action, *args)
            else:
                self.send(action, *args)

    def hold(self, until_s: float) -> None:
        """Let nothing happen before a time of the loop."""
        self._held_until_s = max(self._held_until_s, until_s)

    def close(self, arriving: int = 0) -> None:
        """Take nothing more; of what is on its way, only the first so many arrive."""
        self._is_closed = True
        while len(self._sent) > arriving:
            self._sent.pop()

    def finish(self) -> None:
        """Let what is still on its way happen now."""
        while self._sent:
            _, action, args = self._sent.popleft()
            action(*args)

    def _set_timer(self) -> None:
        at_s = max(self._sent[0][0], self._held_until_s)
        self._timer = asyncio.get_running_loop().call_at(at_s, self._arrive)

    def _arrive(self) -> None:
        self._timer = None  # one that was set before `finish` may find nothing left
        now_s = asyncio.get_running_loop().time()
        while self._sent and max(self._sent[0][0], self._held_until_s) <= now_s:
            _, action, args = self._sent.popleft()
            action(*args)
        if self._sent and self._timer is None:
            self._set_timer()


class Session:
    """One TCP connection between a client and the server."""

    def __init__(self, weather: Weather | None) -> None:
        self.up = Lane(weather)
        """To the server."""
        self.down = Lane(weather)

    def end(self, arriving: int = 0) -> None:
        """It broke: of what the client sent, the first so many still reach the server."""
        self.up.close(arriving)
        self.down.close()

    def hold(self, until_s: float) -> None:
        """Nothing gets through before a time of the loop, in either direction."""
        self.up.hold(until_s)
        self.down.hold(until_s)
