"""When the client tries again, how soon, and for how long."""

import asyncio
from random import uniform
from typing import Final

from ewallet.client_faults import ClientFault

PAUSE_S_FIRST: Final = 0.1
PAUSE_S_MAX: Final = 2.0

ACCEPTED: Final = 202
NOT_SETTLED: Final = frozenset({ACCEPTED, 408, 429})
"""Statuses besides 5xx after which the outcome of a change is still open."""


def is_unsettled(status: int) -> bool:
    """Whether an HTTP status leaves it open if the change happened."""
    return status in NOT_SETTLED or status >= 500  # noqa: PLR2004 - the server's own failures


class TryAgain(Exception):
    """It may work soon. If the time is up before it does, it ends with the fault."""

    def __init__(self, fault: ClientFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Pace:
    """The pauses between tries, each up to twice as long as the last, until the time is up."""

    def __init__(self, timeout_s: float) -> None:
        self._clock = asyncio.get_running_loop().time
        self.deadline_s = self._clock() + timeout_s
        """By the loop's clock."""
        self._pause_s = PAUSE_S_FIRST

    @property
    def left_s(self) -> float:
        """How much time is left; 0 when it is up."""
        return max(0.0, self.deadline_s - self._clock())

    async def pause(self, asked_s: float | None = None) -> None:
        """Wait before the next try: as long as was asked for, otherwise as its turn says."""
        # Not the same for all: clients that lost one server do not come back in step.
        pause_s = asked_s or uniform(0.5, 1.0) * self._pause_s  # noqa: S311 - guards nothing
        self._pause_s = min(self._pause_s * 2, PAUSE_S_MAX)
        await asyncio.sleep(min(pause_s, self.left_s))
