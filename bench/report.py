"""Turns the measurements of all rounds into medians, ratios and a table."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.measurement import Measurement

DISTURBANCE_MAX = 0.1
"""A run in which others took more of the CPU time than this is to be repeated."""


@dataclass(frozen=True)
class Summary:
    """The medians over all rounds of one subject at one number of connections.

    `ratio` is the median over the rounds of this subject's transfers per second divided by the
    peer's in the same round, so that a slow minute of the machine touches both sides; None when
    there is no peer or the subject is the peer.
    """

    subject: str
    connections: int
    transfers_per_second: float
    slowest: float
    fastest: float
    p50_ms: float
    p99_ms: float
    ratio: float | None
    cpu_us_per_transfer: dict[str, float]


def summarise(measurements: Sequence[Measurement], peer: str | None) -> list[Summary]:
    """Summarise in the order in which subjects and connection counts first appear."""
    cases: dict[tuple[str, int], list[Measurement]] = {}
    for measurement in measurements:
        cases.setdefault((measurement.subject, measurement.connections), []).append(measurement)
    peers = {
        (measurement.round, measurement.connections): measurement.transfers_per_second
        for measurement in measurements
        if measurement.subject == peer
    }
    return [
        _summary(case, {} if subject == peer else peers)
        for (subject, _connections), case in cases.items()
    ]


def _summary(case: Sequence[Measurement], peers: Mapping[tuple[int, int], float]) -> Summary:
    speeds = [measurement.transfers_per_second for measurement in case]
    ratios = [
        measurement.transfers_per_second / peers[measurement.round, measurement.connections]
        for measurement in case
        if (measurement.round, measurement.connections) in peers
    ]
    return Summary(
        subject=case[0].subject,
        connections=case[0].connections,
        transfers_per_second=statistics.median(speeds),
        slowest=min(speeds),
        fastest=max(speeds),
        p50_ms=statistics.median(measurement.p50_ms for measurement in case),
        p99_ms=statistics.median(measurement.p99_ms for measurement in case),
        ratio=round(statistics.median(ratios), 2) if ratios else None,
        cpu_us_per_transfer=_median_cpu(case),
    )


def _median_cpu(case: Sequence[Measurement]) -> dict[str, float]:
    groups = sorted({group for measurement in case for group in measurement.cpu_us_per_transfer})
    return {
        group: statistics.median(
            measurement.cpu_us_per_transfer.get(group, 0.0) for measurement in case
        )
        for group in groups
    }


def disturbance(summaries: Sequence[Summary]) -> float:
    """Return the greatest share of "elsewhere" in the CPU time of a case, from 0 to 1."""
    return max(
        used["elsewhere"] / sum(used.values())
        for used in (summary.cpu_us_per_transfer for summary in summaries)
    )


def speed_table(summaries: Sequence[Summary]) -> str:
    """Return transfers per second, latencies and ratios, one line per case."""
    head = ("system", "connections", "transfers/s", "(min - max)", "p50 ms", "p99 ms", "ratio")
    return table(head, [_speed_row(summary) for summary in summaries])


def _speed_row(summary: Summary) -> tuple[str, ...]:
    return (
        summary.subject,
        str(summary.connections),
        f"{summary.transfers_per_second:,.0f}",
        f"({summary.slowest:,.0f} - {summary.fastest:,.0f})",
        f"{summary.p50_ms:.2f}",
        f"{summary.p99_ms:.2f}",
        "" if summary.ratio is None else f"{summary.ratio:.2f}",
    )


def cpu_table(summaries: Sequence[Summary]) -> str:
    """Return CPU microseconds per transfer, one line per case and one column per group."""
    own = {group for summary in summaries for group in summary.cpu_us_per_transfer}
    groups = [*sorted(own - {"wrk", "elsewhere"}), "wrk", "elsewhere"]
    rows = []
    for summary in summaries:
        used = summary.cpu_us_per_transfer
        cells = (f"{used[group]:.1f}" if group in used else "" for group in groups)
        rows.append((summary.subject, str(summary.connections), *cells))
    return table(("system", "connections", *groups), rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align cells: the first column to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(_line(line, widths).rstrip() for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])
