"""`python -m bench.document`: puts the newest measurements into docs/coordination.md.

Only what stands between the markers is replaced, and the plots beside it are drawn anew.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.cell_report import HEAD, CellSummary, case_title, cases, cell_row
from bench.cells import NO_WAY, WAYS
from bench.death_report import DEATH_HEAD, WAITING_HEAD, DeathSummary, death_row, waiting_row
from bench.outage import BEFORE_S, BUCKET_S
from bench.plot import Bars, Lines, bar_plot, line_plot
from bench.settings import BenchError, read_settings, take_no_arguments

DOCUMENT = Path("docs/coordination.md")
CELLS_PLOT = Path("docs/coordination.svg")
DEATH_PLOT = Path("docs/coordinator-death.svg")
SERIES = ("within one partition", *WAYS)


def main() -> int:
    """Return the exit status: 1 when a measurement or a marker is missing."""
    take_no_arguments(__doc__)
    try:
        results = read_settings().results
        cells = newest(results, "coordination")
        deaths = newest(results, "coordinator-death")
        text = DOCUMENT.read_text()
        for name, content in sections(cells, deaths).items():
            text = replaced(text, name, content)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    DOCUMENT.write_text(text)
    CELLS_PLOT.write_text(cells_plot(cell_summaries(cells)))
    DEATH_PLOT.write_text(death_plot(death_summaries(deaths)))
    print(f"Written: {DOCUMENT}, {CELLS_PLOT}, {DEATH_PLOT}")
    return 0


def newest(results: Path, kind: str) -> dict[str, Any]:
    """Return the last measurement of a kind; file names end with the time."""
    paths = sorted(results.glob(f"{kind}-2*.json"))
    if not paths:
        module = f"bench.{kind.replace('-', '_')}"
        raise BenchError(f"{results} holds no {kind}-*.json: run `python -m {module}` first")
    document: dict[str, Any] = json.loads(paths[-1].read_text())
    return document


def cell_summaries(document: dict[str, Any]) -> list[CellSummary]:
    """Read back what `bench.coordination` wrote."""
    return [CellSummary(**summary) for summary in document["summaries"]]


def death_summaries(document: dict[str, Any]) -> list[DeathSummary]:
    """Read back what `bench.coordinator_death` wrote."""
    return [DeathSummary(**summary) for summary in document["summaries"]]


def sections(cells: dict[str, Any], deaths: dict[str, Any]) -> dict[str, str]:
    """Return what goes between the markers, by their names."""
    tables = [
        f"{case_title(case).capitalize()}:\n\n{markdown(HEAD, map(cell_row, each))}"
        for case, each in cases(cell_summaries(cells)).items()
    ]
    died = death_summaries(deaths)
    return {
        "machine": f"{run_line(cells)}\n\n{run_line(deaths)}",
        "cells": "\n\n".join(tables),
        "waiting": markdown(WAITING_HEAD, map(waiting_row, died)),
        "death": markdown(DEATH_HEAD, map(death_row, died)),
    }


def run_line(document: dict[str, Any]) -> str:
    """Say what a run was and on which machine."""
    machine, settings = document["machine"], document["settings"]
    return (
        f"`{document['program']}`: {settings['rounds']} rounds of {settings['seconds']} s,"
        f" {settings['accounts']:,} accounts; {machine['cpu']}, {machine['cores']} cores,"
        f" {machine['kernel']}, {machine['python']}, {machine['versions']['nats-server']},"
        f" {machine['filesystem']}, {machine['fsync_us']:.0f} µs per fsync."
    )


def replaced(text: str, name: str, content: str) -> str:
    """Return the text with new content between `<!-- name -->` and `<!-- /name -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise BenchError(f"{DOCUMENT} has no place between {begin} and {end}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with the first column to the left and the others to the right."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def cells_plot(summaries: Sequence[CellSummary]) -> str:
    """Draw transfers per second over the share between partitions; one client alone is left out."""
    panels = [
        Bars(title=case_title(case), groups=_groups(each))
        for case, each in cases(summaries).items()
        if case[1] > 1
    ]
    return bar_plot(panels, SERIES, x="share of transfers between partitions", y="transfers/s")


def _groups(summaries: Sequence[CellSummary]) -> list[tuple[str, list[float | None]]]:
    speeds = {(one.share_percent, one.way): one.transfers_per_second for one in summaries}
    shares = sorted({share for share, _ in speeds})
    return [
        (f"{share} %", [speeds.get((share, way)) for way in (NO_WAY, *WAYS)]) for share in shares
    ]


def death_plot(summaries: Sequence[DeathSummary]) -> str:
    """Draw the answers of all clients per 100 ms around the death."""
    by_way = {summary.way: summary.timeline for summary in summaries}
    series = [by_way[way] for way in (NO_WAY, *WAYS)]
    panel = Lines("writer killed at 0", first=-BEFORE_S, step=BUCKET_S, series=series)
    return line_plot([panel], SERIES, x="seconds", y="answers per 100 ms")


if __name__ == "__main__":
    sys.exit(main())
