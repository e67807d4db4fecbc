"""The weather of one run: how long everything takes and what gets lost, drawn from its seed.

Every run has its own climate: from nearly calm to one in which a tenth of all pushes is lost.
When the faults are over only short delays are left.
"""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final

_CALM_COPY: Final = (0.0,)


class SeededWeather:
    """Port `Weather` of the broker in memory."""

    def __init__(self, chance: Random, faults: Counter[str]) -> None:
        self._chance = chance
        self._faults = faults
        self._hop_s = chance.choice((0.0002, 0.001, 0.005, 0.02))
        self._disk_s = chance.choice((0.0002, 0.002, 0.01))
        self._slow_hops = chance.choice((0.0, 0.005, 0.03))
        self._lost = chance.choice((0.0, 0.01, 0.05, 0.12))
        self._doubled = chance.choice((0.0, 0.02, 0.10))
        self._late = chance.choice((0.0, 0.03, 0.15))
        self._late_s_max = chance.choice((0.05, 1.0, 8.0))
        self._unacknowledged = chance.choice((0.0, 0.0, 0.01))
        self.is_over = False
        """Nothing is lost, late or doubled any more."""

    def hop_s(self) -> float:
        """See the port: between half and twice the climate's, now and then a hundred times."""
        chance = self._chance
        seconds = self._hop_s * (0.5 + 1.5 * chance.random())
        if not self.is_over and chance.random() < self._slow_hops:
            self._faults["slow hop"] += 1
            seconds += chance.random() * 100 * self._hop_s
        return seconds

    def disk_s(self) -> float:
        """See the port."""
        return self._disk_s * (0.5 + self._chance.random())

    def copies_s(self) -> Sequence[float]:
        """See the port."""
        if self.is_over:
            return _CALM_COPY
        chance = self._chance
        if chance.random() < self._lost:
            self._faults["push lost"] += 1
            return ()
        copies = [self._lateness_s()]
        if chance.random() < self._doubled:
            self._faults["push doubled"] += 1
            copies.append(chance.random() * self._late_s_max)
        return copies

    def loses_acknowledgement(self) -> bool:
        """See the port."""
        is_lost = not self.is_over and self._chance.random() < self._unacknowledged
        self._faults["acknowledgement lost"] += is_lost
        return is_lost

    def survivors(self, count: int) -> int:
        """See the port."""
        left = self._chance.randint(0, count)
        self._faults["unacknowledged append lost"] += count - left
        return left

    def queue_survivors(self, count: int) -> int | None:
        """See the port."""
        if self._chance.random() < 0.5:  # as likely as not
            self._faults["queue lost"] += 1
            return None
        left = self._chance.randint(max(0, count - 20), count)
        self._faults["queue tail lost"] += left < count
        return left

    def executor_s(self) -> float:
        """How long a thread takes over a piece of work."""
        return self._disk_s * self._chance.random()

    def _lateness_s(self) -> float:
        if self._chance.random() >= self._late:
            return 0.0
        self._faults["push late"] += 1
        return self._chance.random() * self._late_s_max
