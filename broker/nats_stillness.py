"""Whether a stream has more than what comes.

A consumer goes on to beat on a copy that gets nothing, and nats-server leaves such a copy alone for
30 s. So the stream's leader is asked what follows while nothing comes: seldom where there is mostly
nothing, as an idle cluster of a thousand partitions would ask for more than it is used for.
"""

import asyncio
from contextlib import suppress
from typing import Final

from broker.nats_streams import JetStreamApi, stored_message
from broker.port import BrokerFault
from contracts.subjects import LEASES_STREAM

_NEW_S: Final = 1.0
"""A new consumer that brings nothing may be on any copy: servers choose one just after a fault,"""
_YOUNG_S: Final = 10.0
"""and one that brings something at first may be on one that gets no more: it is new for so long."""
_STILL_S: Final = 3.0
"""The leader is asked when this has passed without another message."""
_LEASES_STILL_S: Final = 0.6
"""So of the leases: each writer that follows them stores one every 0.2 s. A server that has just
started may lack the stream for 5 s, and who does not hear itself meanwhile leads nothing new."""
_STILL_S_MAX: Final = 24.0
"""Each time that nothing follows it is left alone for twice as long, up to this. So the first
transfer after a pause, on a stalled copy of a quiet stream, may take longer than its request is
held (WAIT_MS_DEFAULT)."""
_ANSWERED_S: Final = 1.0


class Stillness:
    """Of one following."""

    def __init__(self, api: JetStreamApi, stream: str) -> None:
        self._api = api
        self._stream = stream
        self._still_s = _LEASES_STILL_S if stream == LEASES_STREAM else _STILL_S
        self._pause_s = 0.0
        self._new_until_s = 0.0
        self._since_s = 0.0
        """When it began, or the leader was to be asked, by the loop's clock."""
        self._is_over = asyncio.Event()
        """A long pause is, as a message came."""

    def begin(self, now_s: float) -> None:
        """There is a new consumer."""
        self._new_until_s = now_s + _YOUNG_S
        self._begin(now_s, self._still_s_of(now_s))

    def end(self, now_s: float) -> None:
        """A message came."""
        self._begin(now_s, self._still_s_of(now_s))

    def _still_s_of(self, now_s: float) -> float:
        return self._still_s if now_s >= self._new_until_s else min(_NEW_S, self._still_s)

    def _begin(self, now_s: float, pause_s: float) -> None:
        self._since_s = now_s
        if self._pause_s > pause_s:
            self._is_over.set()
        self._pause_s = pause_s

    async def lasts(self) -> None:
        """Return when it is time to ask."""
        loop = asyncio.get_running_loop()
        while (left_s := self._since_s + self._pause_s - loop.time()) > 0:
            self._is_over.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._is_over.wait()
        self._since_s = loop.time()

    async def hides_more(self, read: int) -> bool:
        """Whether the leader holds a message behind the sequence that was read last.

        The stream's numbers would not tell: what is too old for a queue is gone, and still counted.
        """
        body = {"seq": read + 1, "next_by_subj": ">"}
        verb = f"STREAM.MSG.GET.{self._stream}"
        try:
            answer = await self._api(verb, body, timeout_s=_ANSWERED_S)
            if stored_message(answer, f"{self._stream} behind {read}") is not None:
                return True
        except BrokerFault:
            self._pause_s = max(self._pause_s, self._still_s)
            return False  # nobody knows; it is asked again, and not by all at once
        self._pause_s = min(2 * self._pause_s, _STILL_S_MAX)
        return False
