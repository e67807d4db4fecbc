"""Where the time of one transfer went: the header `Server-Timing` for who asks for it.

Four moments are this process's own. Two come with the result: when the broker stored the event
frame in the journal, and when the reader pushed the result. Those are other machines' clocks, so
they are told only where all six are in order; the stretch that they cut is told always.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Final

TIMED: Final = "server-timing"
"""What a client asks for in `Prefer`."""


class Timing:
    """The moments of one request, Unix microseconds; 0: not known."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        """From now: the request has been read."""
        self._now_us = now_us
        self._received_us = now_us()
        self._sent_us = self._taken_us = self._journaled_us = self._pushed_us = 0

    def sent(self) -> None:
        """Its frame leaves; the first time counts, as the command is the same afterwards."""
        self._sent_us = self._sent_us or self._now_us()

    def taken(self, journaled_us: int, pushed_us: int) -> None:
        """Its result is here, in a frame with these moments."""
        self._taken_us = self._now_us()
        self._journaled_us, self._pushed_us = journaled_us, pushed_us

    def header(self) -> str:
        """The value of `Server-Timing` now, durations in milliseconds."""
        now_us = self._now_us()
        shown = {
            "batch": self._sent_us - self._received_us,
            "wallet": self._taken_us - self._sent_us,
        }
        moments = [self._sent_us, self._journaled_us, self._pushed_us, self._taken_us]
        if self._journaled_us and moments == sorted(moments):
            names = ("journal", "project", "push")
            for name, (begin, end) in zip(names, pairwise(moments), strict=True):
                shown[name] = end - begin
        shown["answer"] = now_us - self._taken_us
        shown["total"] = now_us - self._received_us
        return ", ".join(f"{name};dur={us / 1_000:.3f}" for name, us in shown.items())
