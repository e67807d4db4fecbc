"""Run seeds: `python -m simulation SEEDS SEED_START`, or one seed with its whole story.

Exit status 0 if every seed is clean and, in a long series, every hard case was reached.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from simulation.report import Totals
from simulation.run import Outcome, run_seed

_STORIES_MAX = 3


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    parser.add_argument("seeds", type=int, help="how many seeds to run")
    parser.add_argument("seed_start", type=int, help="the first of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    first, count = arguments.seed_start, arguments.seeds
    print(f"seeds {first} to {first + count - 1}", flush=True)
    totals = run_seeds(range(first, first + count), arguments.processes)
    print("\n".join(totals.lines()))
    for outcome in totals.failed[:_STORIES_MAX]:
        _tell(outcome)
    return 0 if totals.is_clean else 1


def run_seeds(seeds: range, processes: int) -> Totals:
    """Run seeds, many at a time; the order in which they are done does not matter."""
    totals = Totals()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for outcome in pool.map(run_seed, seeds):
            totals.add(outcome)
            if outcome.failure is not None:
                print(f"seed {outcome.seed}: {outcome.failure.splitlines()[-1]}", flush=True)
    return totals


def _tell(outcome: Outcome) -> None:
    print(f"\nseed {outcome.seed}: {outcome.failure}")
    print("\n".join(outcome.story))
    print(f"Run it again: make sim SEEDS=1 SEED_START={outcome.seed}")


if __name__ == "__main__":
    sys.exit(main())
