"""Turns the measured deaths of all rounds into medians and tables."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.cells import NO_WAY
from bench.outage import Stall, Unfinished, Wait
from bench.report import table


class Death(Protocol):
    """What is summarised: one way in one round."""

    @property
    def way(self) -> str: ...
    @property
    def near(self) -> Wait: ...
    @property
    def far(self) -> Wait: ...
    @property
    def stall(self) -> Stall: ...
    @property
    def unfinished(self) -> Unfinished: ...


@dataclass(frozen=True)
class DeathSummary:
    """The medians over all rounds of one way; `half_speed_s` None if it never got there.

    `timeline` is the mean over the rounds of the answers per 100 ms.
    """

    way: str
    near_p50_ms: float
    near_p99_ms: float
    far_p50_ms: float
    far_p99_ms: float
    held: float
    unfinished: float
    locked: float
    finished_s: float
    silence_s: float
    longest_near_s: float
    longest_far_s: float
    half_speed_s: float | None
    timeline: list[float]


def summarise_deaths(deaths: Sequence[Death]) -> list[DeathSummary]:
    """Summarise by way, in order of first appearance."""
    by_way: dict[str, list[Death]] = {}
    for death in deaths:
        by_way.setdefault(death.way, []).append(death)
    return [_summary(way, each) for way, each in by_way.items()]


def _summary(way: str, deaths: Sequence[Death]) -> DeathSummary:
    median = statistics.median
    stalls = [death.stall for death in deaths]
    back = [stall.half_speed_s for stall in stalls if stall.half_speed_s is not None]
    return DeathSummary(
        way=way,
        near_p50_ms=median(death.near.p50_ms for death in deaths),
        near_p99_ms=median(death.near.p99_ms for death in deaths),
        far_p50_ms=median(death.far.p50_ms for death in deaths),
        far_p99_ms=median(death.far.p99_ms for death in deaths),
        held=median(stall.held for stall in stalls),
        unfinished=median(death.unfinished.transfers for death in deaths),
        locked=median(death.unfinished.locked for death in deaths),
        finished_s=median(death.unfinished.finished_s for death in deaths),
        silence_s=median(stall.silence_s for stall in stalls),
        longest_near_s=median(stall.longest_near_s for stall in stalls),
        longest_far_s=median(stall.longest_far_s for stall in stalls),
        half_speed_s=median(back) if len(back) == len(stalls) else None,
        timeline=[
            round(statistics.fmean(counts), 1)
            for counts in zip(*(stall.timeline for stall in stalls), strict=True)
        ],
    )


WAITING_HEAD = (
    "way of the others",
    "within a partition: p50 ms",
    "p99 ms",
    "between: p50 ms",
    "p99 ms",
)
DEATH_HEAD = (
    "way",
    "held",
    "of these unfinished",
    "accounts locked",
    "all finished after s",
    "no answer for s",
    "half speed after s",
    "longest within s",
    "longest between s",
)


def waiting_row(summary: DeathSummary) -> tuple[str, ...]:
    """Return the texts under WAITING_HEAD."""
    near = (f"{summary.near_p50_ms:.1f}", f"{summary.near_p99_ms:.1f}")
    if summary.way == NO_WAY:
        return ("-", *near, "", "")
    return (summary.way, *near, f"{summary.far_p50_ms:.1f}", f"{summary.far_p99_ms:.1f}")


def death_row(summary: DeathSummary) -> tuple[str, ...]:
    """Return the texts under DEATH_HEAD."""
    crosses = summary.way != NO_WAY
    return (
        summary.way if crosses else "-",
        f"{summary.held:.0f}",
        f"{summary.unfinished:.0f}" if crosses else "",
        f"{summary.locked:.0f}" if crosses else "",
        f"{summary.finished_s:.2f}" if crosses else "",
        f"{summary.silence_s:.2f}",
        "never" if summary.half_speed_s is None else f"{summary.half_speed_s:.1f}",
        f"{summary.longest_near_s:.2f}",
        f"{summary.longest_far_s:.2f}" if crosses else "",
    )


def waiting_table(summaries: Sequence[DeathSummary]) -> str:
    """Return how long transfers that touch hot accounts wait while nothing is disturbed."""
    return table(WAITING_HEAD, map(waiting_row, summaries))


def death_table(summaries: Sequence[DeathSummary]) -> str:
    """Return what the death of the coordinator did, one line per way."""
    return table(DEATH_HEAD, map(death_row, summaries))
