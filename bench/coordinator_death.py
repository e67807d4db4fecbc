"""`python -m bench.coordinator_death`: who waits for whom, also when the coordinator dies.

For each way, and for transfers within one partition to compare with: 64 clients move money between
hot accounts, half of the transfers between partitions. First nothing is disturbed: how long do
transfers within a partition wait that share accounts with the others? Then the coordinator, which
has a process of its own here, stops in the middle, is killed DEAD_S later and started again by its
supervisor: who stalls meanwhile, and when is all that was under way finished?
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import accounts, machine
from bench.cells import NO_WAY, WAYS
from bench.choice import PARTITIONS, choice_of
from bench.clients import Answer, Clients
from bench.death_report import death_table, summarise_deaths, waiting_table
from bench.leaving import leave_on_signals
from bench.monitor import settle
from bench.outage import AFTER_S, Stall, Unfinished, Wait, stall, unfinished, wait
from bench.processes import Running
from bench.results import write_document
from bench.settings import BenchError, Settings, read_settings, take_no_arguments
from bench.wallet import coordinator_pid, wallet
from bench.way_check import check_ways

DEFAULTS = Settings(seconds=4, warmup_seconds=1, rounds=3, connections=(64,))
SHARE_PERCENT = 50
DEAD_S = 3.0
"""How long there is no coordinator: as if it took so long to start another."""
SUBJECTS = (NO_WAY, *WAYS)


@dataclass(frozen=True)
class DeathMeasurement:
    """One wallet, loaded, killed and followed until it was quiet.

    `near` and `far` are the waits of undisturbed transfers within and between partitions that
    touch one of the hottest accounts. `faults` are answers other than 201 and 422.
    """

    way: str
    round: int
    near: Wait
    far: Wait
    stall: Stall
    unfinished: Unfinished
    faults: int


def main() -> int:
    """Run all rounds and return the exit status."""
    take_no_arguments(__doc__)
    leave_on_signals()
    try:
        return run(read_settings(default=DEFAULTS))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def run(settings: Settings) -> int:
    """Measure every way in every round, print the tables, write the JSON file."""
    description = machine.describe(settings.folder or Path(tempfile.gettempdir()))
    measurements: list[DeathMeasurement] = []
    versions: dict[str, str] = {}
    for number in range(1, settings.rounds + 1):
        for way in SUBJECTS:
            print(f"round {number} of {settings.rounds}: {way}", flush=True)
            measurements.append(measure_death(way, number, settings, versions))
    summaries = summarise_deaths(measurements)
    print(f"\n{waiting_table(summaries)}\n\n{death_table(summaries)}")
    path = write_document(
        "coordinator-death",
        "bench.coordinator_death",
        settings,
        description | {"versions": versions},
        summaries=[asdict(summary) for summary in summaries],
        measurements=[asdict(one) for one in measurements],
    )
    print(f"\nWritten to {path}")
    faults = sum(one.faults for one in measurements)
    if faults:
        print(f"{faults} answers were neither 201 nor 422.")
    return 1 if faults else 0


def measure_death(
    way: str, round_number: int, settings: Settings, versions: dict[str, str]
) -> DeathMeasurement:
    """Start a wallet on an empty folder, load it, kill its coordinator, read what became of it."""
    ids = accounts.account_ids(settings.accounts)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=settings.folder) as name:
        with wallet(Path(name), PARTITIONS, EWALLET_COORDINATOR_APART="1") as running:
            versions.update(running.versions)
            accounts.open_accounts(running.base_url, ids)
            choice = choice_of("hot", ids)
            check_ways(running.base_url, choice, WAYS)
            clients = Clients(
                base_url=running.base_url,
                choice=choice,
                way=WAYS[0] if way == NO_WAY else way,
                share_percent=0 if way == NO_WAY else SHARE_PERCENT,
                seed=round_number,
            )
            death = asyncio.run(_load_and_kill(clients, running, settings))
            settle(running.monitor_url)
            accounts.check_sum_is_zero(running.base_url, ids)
        journals = unfinished(Path(name) / "data", death.died_ns)
    calm = [
        answer
        for answer in clients.answers
        if answer.is_hot and death.calm_s <= answer.asked_s and answer.answered_s < death.died_s
    ]
    return DeathMeasurement(
        way=way,
        round=round_number,
        near=wait(answer for answer in calm if not answer.crosses),
        far=wait(answer for answer in calm if answer.crosses),
        stall=stall(clients.answers, death.died_s),
        unfinished=journals,
        faults=_faults(clients.answers),
    )


@dataclass(frozen=True)
class _Death:
    calm_s: float
    """From here on answers count as undisturbed; `time.monotonic`."""
    died_s: float
    died_ns: int


async def _load_and_kill(clients: Clients, running: Running, settings: Settings) -> _Death:
    """Load for a while, kill, load for AFTER_S more, and return when all answers are here."""
    asking = asyncio.create_task(clients.run(settings.connections[0]))
    await asyncio.sleep(settings.warmup_seconds)
    calm_s = time.monotonic()
    await asyncio.sleep(settings.seconds)
    coordinator = coordinator_pid(running.root_pids[0])
    death = _Death(calm_s, time.monotonic(), time.time_ns())
    os.kill(coordinator, signal.SIGSTOP)
    await asyncio.sleep(DEAD_S)
    os.kill(coordinator, signal.SIGKILL)
    await asyncio.sleep(AFTER_S - DEAD_S)
    clients.is_over = True
    await asking
    return death


def _faults(answers: list[Answer]) -> int:
    return sum(answer.status not in {201, 422} for answer in answers)


if __name__ == "__main__":
    sys.exit(main())
