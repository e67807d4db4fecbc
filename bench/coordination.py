"""`python -m bench.coordination`: what the four ways of transfers between partitions cost.

Prints a table per kind of load and writes JSON; `python -m bench.document` makes the tables and
the plot of docs/coordination.md from it. Ends with 0 when there was no fault: every answer was
201, 202 or 422, no connection broke, and all money was there at the end of every block.
"""

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench import machine
from bench.cell_report import HEAD, case_title, cases, cell_row, disturbance, summarise_cells
from bench.cells import CellMeasurement, blocks, measure_block
from bench.leaving import leave_on_signals
from bench.load import require_wrk
from bench.report import DISTURBANCE_MAX, table
from bench.results import write_document
from bench.settings import BenchError, Settings, read_settings, take_no_arguments

DEFAULTS = Settings(seconds=4, warmup_seconds=2, rounds=2, connections=(64, 256))


def main() -> int:
    """Run the whole benchmark and return the exit status."""
    take_no_arguments(__doc__)
    leave_on_signals()
    try:
        settings = read_settings(default=DEFAULTS)
        require_wrk()
        return run(settings)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def run(settings: Settings) -> int:
    """Measure all blocks, print the tables, write the JSON file; return the exit status."""
    description = machine.describe(settings.folder or Path(tempfile.gettempdir()))
    versions: dict[str, str] = {}
    measurements: list[CellMeasurement] = []
    for block in blocks(settings):
        title = case_title((block.distribution, block.connections))
        print(f"round {block.round} of {settings.rounds}: {title}", flush=True)
        for one in measure_block(block, settings, versions):
            measurements.append(one)
            print(f"  {_line(one)}", flush=True)
    summaries = summarise_cells(measurements)
    for case, each in cases(summaries).items():
        print(f"\n{case_title(case)}\n{table(HEAD, map(cell_row, each))}")
    path = write_document(
        "coordination",
        "bench.coordination",
        settings,
        description | {"versions": versions},
        summaries=[asdict(summary) for summary in summaries],
        measurements=[asdict(one) for one in measurements],
    )
    print(f"\nWritten to {path}")
    share = disturbance(measurements)
    if share > DISTURBANCE_MAX:
        print(f"Something else took up to {share:.0%} of the work: repeat on a quiet machine.")
    faulty = [one for one in measurements if one.faults]
    for one in faulty:
        print(f"{one.faults} faults: {_line(one)}; the first: {one.first_fault!r}")
    return 1 if faulty else 0


def _line(one: CellMeasurement) -> str:
    return (
        f"{one.share_percent:3} % {one.way:<13} {one.transfers_per_second:8,.0f}/s,"
        f" p99 {one.p99_ms:.1f} ms, quiet after {one.drain_seconds:.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
