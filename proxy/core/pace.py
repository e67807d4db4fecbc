"""How many transfers proxies answer, and how long their clients wait for them.

Each process counts from its start and never back, so what happened in a stretch of time is the
difference of two looks, and who looks seldom or twice changes nothing. Knows no clock: elapsed
times and moments are given.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated, Final, TypedDict

from msgspec import Meta

from contracts.status import ProxyStatus

LATENCY_BOUNDS_US: Final = tuple(round(250 * 2 ** (step / 4)) for step in range(73))
"""Upper bounds of the classes of latencies, from 0.25 ms to 65 s, each 19 % above the one before;
one more class is above them all."""


_CLASSES: Final = len(LATENCY_BOUNDS_US) + 1


class Pace:
    """The transfers that one process has answered since it began."""

    def __init__(self) -> None:
        self.completed = self.refused = 0
        self.latency_counts = [0] * _CLASSES

    def note(self, elapsed_us: int, *, is_completed: bool) -> None:
        """Count a transfer whose outcome was known so long after it was read."""
        self.latency_counts[bisect_left(LATENCY_BOUNDS_US, elapsed_us)] += 1
        if is_completed:
            self.completed += 1
        else:
            self.refused += 1


_Latency = Annotated[
    float | None,
    Meta(
        description=(
            "Milliseconds from when a proxy had read a transfer until its outcome was known,"
            " rounded up to a class of a fixed scale, by at most 19 %. null: there was none."
        )
    ),
]


class PaceShown(TypedDict):
    """What the proxies answered since the last look."""

    interval_ms: Annotated[int, Meta(description="The stretch of time that is counted.")]
    proxies: Annotated[int, Meta(description="Processes that were counted.")]
    completed_per_s: Annotated[float, Meta(description="Transfers that were done.")]
    refused_per_s: Annotated[float, Meta(description="Transfers that were refused.")]
    latency_p50_ms: _Latency
    latency_p99_ms: _Latency


class PaceMeter:
    """Looks at all proxies again and again, and tells what happened in between."""

    def __init__(self) -> None:
        self._before: Mapping[str, ProxyStatus] = {}
        self._before_ms = 0

    def look(self, proxies: Sequence[ProxyStatus], now_ms: int) -> PaceShown | None:
        """None at the first look. A process that was not there before counts from now on.

        One of another version, with other classes, can't be added up and is left out.
        """
        proxies = [each for each in proxies if len(each.latency_counts) == _CLASSES]
        before, interval_ms = self._before, now_ms - self._before_ms
        self._before, self._before_ms = {each.id: each for each in proxies}, now_ms
        pairs = [(before[each.id], each) for each in proxies if each.id in before]
        if not pairs or interval_ms <= 0:
            return None
        counts = [
            sum(column) for column in zip(*(_between(old, new) for old, new in pairs), strict=True)
        ]
        completed = sum(new.completed - old.completed for old, new in pairs)
        refused = sum(new.refused - old.refused for old, new in pairs)
        return {
            "interval_ms": interval_ms,
            "proxies": len(pairs),
            "completed_per_s": round(completed * 1_000 / interval_ms, 1),
            "refused_per_s": round(refused * 1_000 / interval_ms, 1),
            "latency_p50_ms": _latency_ms(counts, 50),
            "latency_p99_ms": _latency_ms(counts, 99),
        }


def _between(old: ProxyStatus, new: ProxyStatus) -> list[int]:
    pairs = zip(old.latency_counts, new.latency_counts, strict=True)
    return [after - before for before, after in pairs]


def _latency_ms(counts: Sequence[int], percent: int) -> float | None:
    """The bound below which so many percent of the latencies are."""
    needed = sum(counts) * percent / 100
    if not needed:
        return None
    place = next(at for at, reached in enumerate(accumulate(counts)) if reached >= needed)
    return LATENCY_BOUNDS_US[min(place, len(LATENCY_BOUNDS_US) - 1)] / 1_000
