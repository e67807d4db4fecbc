"""Turns the measured cells of all rounds into medians, ratios and tables."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.cells import NO_WAY, CellMeasurement

Case = tuple[str, int]
"""A distribution and a number of connections."""


@dataclass(frozen=True)
class CellSummary:
    """The medians over all rounds of one cell.

    `ratio` is the median over the rounds of the cell's transfers per second divided by those
    within one partition in the same block. Refused and timed-out answers are percent of what was
    sent in all rounds; faults are numbers. `cpu_us` is the CPU time of all processes of the
    wallet per transfer.
    """

    distribution: str
    connections: int
    way: str
    share_percent: int
    transfers_per_second: float
    slowest: float
    fastest: float
    ratio: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    refused_percent: float
    timed_out_percent: float
    faults: int
    messages: float
    fsyncs: float
    cpu_us: float
    drain_seconds: float

    @property
    def case(self) -> Case:
        """What it is compared within."""
        return self.distribution, self.connections


def summarise_cells(measurements: Sequence[CellMeasurement]) -> list[CellSummary]:
    """Summarise by distribution, connections, share and way, each in order of first appearance.

    A round's order of ways does not show, because the first round has them in their own order.
    """
    cells: dict[tuple[str, int, int, str], list[CellMeasurement]] = {}
    for one in measurements:
        key = (one.distribution, one.connections, one.share_percent, one.way)
        cells.setdefault(key, []).append(one)
    bases = _bases(measurements)
    return [_summary(cell, bases) for cell in cells.values()]


def _bases(measurements: Iterable[CellMeasurement]) -> dict[tuple[str, int, int], float]:
    """Mean speed within one partition, by distribution, connections and round."""
    speeds: dict[tuple[str, int, int], list[float]] = {}
    for one in measurements:
        if one.way == NO_WAY:
            key = (one.distribution, one.connections, one.round)
            speeds.setdefault(key, []).append(one.transfers_per_second)
    return {key: statistics.fmean(each) for key, each in speeds.items()}


def _summary(
    cell: Sequence[CellMeasurement], bases: dict[tuple[str, int, int], float]
) -> CellSummary:
    first = cell[0]
    speeds = [one.transfers_per_second for one in cell]
    sent = sum(one.sent for one in cell)
    ratios = [
        one.transfers_per_second / bases[one.distribution, one.connections, one.round]
        for one in cell
    ]

    def median(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in cell))

    return CellSummary(
        distribution=first.distribution,
        connections=first.connections,
        way=first.way,
        share_percent=first.share_percent,
        transfers_per_second=statistics.median(speeds),
        slowest=min(speeds),
        fastest=max(speeds),
        ratio=round(statistics.median(ratios), 2),
        p50_ms=median("p50_ms"),
        p99_ms=median("p99_ms"),
        max_ms=max(one.max_ms for one in cell),
        refused_percent=100 * sum(sum(one.refused.values()) for one in cell) / sent,
        timed_out_percent=100 * sum(one.timed_out for one in cell) / sent,
        faults=sum(one.faults for one in cell),
        messages=median("messages"),
        fsyncs=median("fsyncs"),
        cpu_us=float(statistics.median(_own_cpu_us(one) for one in cell)),
        drain_seconds=max(one.drain_seconds for one in cell),
    )


def _own_cpu_us(one: CellMeasurement) -> float:
    used = one.cpu_us_per_transfer.items()
    return sum(time for group, time in used if group not in {"wrk", "elsewhere"})


def disturbance(measurements: Iterable[CellMeasurement]) -> float:
    """Return the greatest share of "elsewhere" in the CPU time of a cell, from 0 to 1."""
    used = (one.cpu_us_per_transfer for one in measurements)
    return max(each.get("elsewhere", 0.0) / (sum(each.values()) or 1.0) for each in used)


HEAD = (
    "way",
    "between partitions",
    "transfers/s",
    "(min - max)",
    "of 0 %",
    "p50 ms",
    "p99 ms",
    "refused",
    "timed out",
    "messages",
    "fsyncs",
    "CPU µs",
)


def cases(summaries: Sequence[CellSummary]) -> dict[Case, list[CellSummary]]:
    """Group by distribution and connections, in order of first appearance."""
    found: dict[Case, list[CellSummary]] = {}
    for summary in summaries:
        found.setdefault(summary.case, []).append(summary)
    return found


def cell_row(summary: CellSummary) -> tuple[str, ...]:
    """Return the texts under HEAD."""
    return (
        "-" if summary.way == NO_WAY else summary.way,
        f"{summary.share_percent} %",
        f"{summary.transfers_per_second:,.0f}",
        f"({summary.slowest:,.0f} - {summary.fastest:,.0f})",
        f"{summary.ratio:.2f}",
        f"{summary.p50_ms:.1f}",
        f"{summary.p99_ms:.1f}",
        percent(summary.refused_percent),
        percent(summary.timed_out_percent),
        f"{summary.messages:.2f}",
        f"{summary.fsyncs:.2f}",
        f"{summary.cpu_us:.0f}",
    )


def percent(value: float) -> str:
    """Return a small percentage: nothing at all must not look like very little."""
    return "0" if value == 0 else f"{value:.2f} %"


def case_title(case: Case) -> str:
    """Name a case for a person."""
    distribution, connections = case
    number = "1 connection" if connections == 1 else f"{connections} connections"
    return f"{distribution} accounts, {number}"
