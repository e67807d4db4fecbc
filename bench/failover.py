"""`python -m bench.failover`: what clients notice when a process dies that others stand in for.

One wallet of two writers, two readers and two proxies on loopback. Transfers start at a steady
rate, far below what the machine can do, whatever became of those before. Every few seconds one
process is killed with SIGKILL, or none, to compare with; its supervisor starts another, and both
writers lead as many partitions again before the next kill, so that no hand-over counts for that.
The figure is the longest time that any client waited for an outcome, repeats with the same id
included, among the transfers that were under way at the kill or started within AFTER_S of it.
"""

import asyncio
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from bench import accounts, machine
from bench.choice import PARTITIONS, Choice, choice_of
from bench.leaving import leave_on_signals
from bench.processes import Running, started
from bench.report import table
from bench.results import write_document
from bench.settings import BenchError, Settings, read_settings
from bench.wallet import pids_of, wallet
from ewallet.nats_configuration import read_urls
from ewallet.permissions import Role

DEFAULTS = Settings(seconds=5, warmup_seconds=3, rounds=10, accounts=1_000)
RATE_PER_S = 200
AFTER_S = 3.0
EVEN = [PARTITIONS // 2, PARTITIONS // 2 + 1]
"""How many parties each writer leads when none will move: the partitions and the coordinator."""
EVEN_S_MAX = 60.0
"""Only to end a run that hangs."""
HEAD = ("killed", "times", "longest wait, median (ms)", "worst (ms)", "what clients met besides")
VICTIMS = ("nothing", "writer", "reader", "proxy")
BROKEN = "connection broken"
RETRY_S = 0.02
OUTCOMES = frozenset({200, 201, 422})


@dataclass(frozen=True, slots=True)
class Waited:
    """One transfer as its client saw it; seconds of `time.monotonic`."""

    asked_s: float
    known_s: float
    met: tuple[str, ...]
    """What was not an outcome: broken connections, statuses."""


@dataclass(frozen=True)
class Kill:
    """What clients noticed of one kill."""

    victim: str
    longest_ms: float
    met: dict[str, int]


class Payers:
    """Clients that start a transfer every 1 / RATE_PER_S seconds and ask until it has an outcome.

    Outcomes that are neither done nor refused by a rule, as a 202, are asked for again.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._chance = random.Random(1)  # noqa: S311 - chooses accounts
        self.waited: list[Waited] = []
        self.is_over = False

    async def run(self, base_url: str) -> None:
        """Go on until `is_over`, and return when everything has an outcome."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(base_url, connector=connector) as session,
            asyncio.TaskGroup() as asking,
        ):
            start_s = time.monotonic()
            count = 0
            while not self.is_over:
                asking.create_task(self._ask(session, f"failover-{count}"))
                count += 1
                await asyncio.sleep(max(0, start_s + count / RATE_PER_S - time.monotonic()))

    async def _ask(self, session: aiohttp.ClientSession, transaction_id: str) -> None:
        crosses = self._chance.random() < 0.5  # as often as not
        payer, payee = self._choice.pair(self._chance, crosses=crosses)
        body = {
            "from_account_id": self._choice.ids[payer],
            "to_account_id": self._choice.ids[payee],
            "amount": "1.00",
            "currency": accounts.CURRENCY,
            "transaction_id": transaction_id,
        }
        asked_s, met = time.monotonic(), list[str]()
        while (answer := await _post(session, body)) is not None:
            met.append(answer)
            await asyncio.sleep(RETRY_S)
        self.waited.append(Waited(asked_s, time.monotonic(), tuple(met)))


async def _post(session: aiohttp.ClientSession, body: dict[str, str]) -> str | None:
    """None once there is an outcome, else what came instead."""
    try:
        async with session.post("/wallet/transfer", json=body) as response:
            await response.read()
            return None if response.status in OUTCOMES else str(response.status)
    except (aiohttp.ClientError, ConnectionError):
        return BROKEN


def main() -> int:
    """Kill everything in turn, print the table, write the JSON file; return the exit status."""
    leave_on_signals()
    try:
        return run(read_settings(default=DEFAULTS))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def run(settings: Settings) -> int:
    """Run one wallet through all kills."""
    description = machine.describe(settings.folder or Path(tempfile.gettempdir()))
    ids = accounts.account_ids(settings.accounts)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=settings.folder) as name,
        wallet(Path(name), PARTITIONS, EWALLET_WRITERS="2", EWALLET_PROXIES="2") as running,
        _second_reader(Path(name)),
    ):
        accounts.open_accounts(running.base_url, ids)
        kills = asyncio.run(_load_and_kill(running, choice_of("uniform", ids), settings))
        accounts.check_sum_is_zero(running.base_url, ids)
    print(f"\n{failover_table(kills)}")
    measured = {"rate_per_s": RATE_PER_S, "kills": [asdict(kill) for kill in kills]}
    path = write_document("failover", "bench.failover", settings, description, **measured)
    print(f"\nWritten to {path}")
    return 0


@contextmanager
def _second_reader(folder: Path) -> Iterator[None]:
    """A reader beside the supervised one, with a store of its own, as on another machine."""
    nats_url, monitor_url = read_urls(
        (folder / "data" / "nats-server.conf").read_text(), Role.READER
    )
    environment = {
        "EWALLET_NATS_URL": nats_url,
        "EWALLET_NATS_MONITOR_URL": monitor_url,
        "EWALLET_PARTITIONS": str(PARTITIONS),
        "EWALLET_DATA_DIR": str(folder / "second-reader"),
    }
    command = [sys.executable, "-m", "reader"]
    log = folder / "second-reader.log"
    with started(command, log=log, ready=r"(?m)^ready\b", environment=environment):
        yield


async def _load_and_kill(running: Running, choice: Choice, settings: Settings) -> list[Kill]:
    payers = Payers(choice)
    asking = asyncio.create_task(payers.run(running.base_url))
    await asyncio.sleep(settings.warmup_seconds)
    died: list[tuple[str, float]] = []
    for number in range(settings.rounds):
        print(f"round {number + 1} of {settings.rounds}", flush=True)
        for victim in VICTIMS:
            died.append((victim, time.monotonic()))
            if victim != VICTIMS[0]:
                pids = pids_of(victim, running.root_pids[0])
                os.kill(pids[number % len(pids)], signal.SIGKILL)
            await asyncio.sleep(settings.seconds)
            await _even(running.base_url)
    payers.is_over = True
    await asking
    return [_noticed(payers.waited, victim, died_s) for victim, died_s in died]


async def _even(base_url: str) -> None:
    """Return once no writer leads two more parties than the other, so none will move."""
    async with asyncio.timeout(EVEN_S_MAX), aiohttp.ClientSession(base_url) as session:
        while True:
            async with session.get("/wallet/status") as answer:
                status = await answer.json()
            leaders = [each["writer"]["id"] for each in status["partitions"] if each["writer"]]
            leaders += [each["writer"] for each in status["coordinators"]]
            if sorted(Counter(leaders).values()) == EVEN:
                return
            await asyncio.sleep(0.1)


def _noticed(waited: list[Waited], victim: str, died_s: float) -> Kill:
    touched = [each for each in waited if each.known_s > died_s and each.asked_s < died_s + AFTER_S]
    if not touched:
        raise BenchError(f"nobody asked for anything when the {victim} was killed")
    longest_s = max(each.known_s - each.asked_s for each in touched)
    return Kill(
        victim=victim,
        longest_ms=round(1000 * longest_s, 1),
        met=dict(Counter(met for each in touched for met in each.met)),
    )


def failover_table(kills: list[Kill]) -> str:
    """One row per victim."""

    def row(victim: str, take: Callable[[list[float]], float]) -> str:
        return f"{take([kill.longest_ms for kill in kills if kill.victim == victim]):.0f}"

    rows = []
    for victim in VICTIMS:
        of_victim = [kill for kill in kills if kill.victim == victim]
        met = sum((Counter(kill.met) for kill in of_victim), Counter[str]())
        besides = ", ".join(f"{what}: {count}" for what, count in sorted(met.items()))
        rows.append(
            (
                victim,
                str(len(of_victim)),
                row(victim, statistics.median),
                row(victim, max),
                besides or "nothing",
            )
        )
    return table(HEAD, rows)


if __name__ == "__main__":
    sys.exit(main())
