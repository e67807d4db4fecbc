"""`python -m bench`: loads the wallet and its peer in turn, prints a table and writes JSON.

Every round starts each system on a fresh folder, so a round depends on no other, and only one
system runs at a time. Ends with 0 when every transfer of every load was answered with 201.
"""

import sys
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bench import machine
from bench.leaving import leave_on_signals
from bench.load import require_wrk
from bench.measurement import Measurement, Subject, measure
from bench.peers.postgresql import HOW_TO_INSTALL, find_binaries, postgresql
from bench.report import DISTURBANCE_MAX, cpu_table, disturbance, speed_table, summarise
from bench.results import write_document
from bench.settings import BenchError, Settings, read_settings, take_no_arguments
from bench.wallet import wallet

PEER = "postgresql peer"


def main() -> int:
    """Run the whole benchmark and return the exit status."""
    take_no_arguments(__doc__)
    leave_on_signals()
    try:
        settings = read_settings()
        require_wrk()
        run(settings)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


def run(settings: Settings) -> None:
    """Measure every subject in every round, print the tables and write the JSON file."""
    subjects = list_subjects(settings)
    description: dict[str, Any] = machine.describe(settings.folder or Path(tempfile.gettempdir()))
    if description["filesystem"] == "tmpfs":
        print("The data is on tmpfs, where fsync is free: set BENCH_FOLDER to a disk.")
    versions: dict[str, str] = {}
    measurements: list[Measurement] = []
    for round_number in range(1, settings.rounds + 1):
        for subject in subjects:
            print(f"round {round_number} of {settings.rounds}: {subject.name}", flush=True)
            measurements += measure(subject, settings, round_number, versions)
    has_peer = any(subject.name == PEER for subject in subjects)
    summaries = summarise(measurements, PEER if has_peer else None)
    description["versions"] = versions
    print(f"\n{speed_table(summaries)}\n\nCPU microseconds per transfer\n{cpu_table(summaries)}\n")
    path = write_document(
        "transfers",
        "bench",
        settings,
        description,
        summaries=[asdict(summary) for summary in summaries],
        measurements=[asdict(measurement) for measurement in measurements],
    )
    print(", ".join(f"{key} {value}" for key, value in description.items()))
    print(f"Written to {path}")
    if settings.peer and not has_peer:
        print("No ratio: the peer did not run, because PostgreSQL is not installed.")
    share = disturbance(summaries)
    if share > DISTURBANCE_MAX:
        print(f"Something else took up to {share:.0%} of the work: repeat on a quiet machine.")


def list_subjects(settings: Settings) -> list[Subject]:
    """Return what a round measures, the peer right after the first wallet."""
    subjects = [
        Subject(
            name=f"wallet, {partitions} partition{'s' if partitions > 1 else ''}",
            partitions=partitions,
            start=partial(wallet, partitions=partitions),
        )
        for partitions in settings.partitions
    ]
    if settings.peer:
        binaries = find_binaries()
        if binaries is None:
            print(HOW_TO_INSTALL, flush=True)
        else:
            start = partial(postgresql, binaries=binaries, connections=settings.peer_connections)
            subjects.insert(1, Subject(name=PEER, partitions=1, start=start))
    return subjects


if __name__ == "__main__":
    sys.exit(main())
