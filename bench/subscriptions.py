"""`python -m bench.subscriptions`: what it costs to watch balances, and how soon changes arrive.

One proxy process. First as many connections as BENCH_SUBSCRIBERS says (10,000) watch an account
each: how long they take to connect, what memory each costs the proxy, and how old a change is when
it arrives, at BENCH_RATE transfers per second (1,000). Then plain transfers by wrk in many short
turns (BENCH_ROUNDS pairs) without and with 1,000 connections that watch accounts which nobody uses:
what else a shared machine does lasts longer than a turn, so the two of a pair suffer alike. It
stops by itself, and fails when a change was missing, a transfer was not made, or a figure is beyond
its bound.
"""

import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from bench import machine
from bench.accounts import account_ids, open_accounts, write_accounts
from bench.leaving import leave_on_signals
from bench.load import LoadResult, require_wrk, run_wrk
from bench.processes import Running, stop
from bench.results import write_document
from bench.settings import BenchError, Settings, read_settings, take_no_arguments
from bench.subscribers import name_of
from bench.wallet import pids_of, wallet

CONNECT_SECONDS_MAX = 60.0
BYTES_PER_CONNECTION_MAX = 30_000.0
"""Of the proxy."""
P99_MS_MAX = 50.0
"""Of the ages of changes."""
IDLE_SHARE_MIN = 0.95
"""Of the transfers without subscriptions, with IDLE_SUBSCRIPTIONS.

These are what is promised for 10,000 connections and 1,000 transfers per second on two cores.
"""

IDLE_SUBSCRIPTIONS = 1_000
LOAD_CLIENTS = 64
LOAD_CONNECTIONS = 64
TURN_SECONDS = 2
SETTLE_S = 1.0
SECOND_NS = 1_000_000_000

DEFAULT = replace(Settings(), seconds=8, rounds=30, accounts=10_000)


@dataclass(frozen=True)
class Watching:
    """Many connections that watch an account each.

    Ages are those of changes as they arrive, from when their transfers were due.
    """

    connections: int
    connect_seconds: float
    bytes_per_connection: float
    transfers_per_second: float
    refused: int
    changes: int
    missing: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    conflated: int


@dataclass(frozen=True)
class Throughput:
    """Plain transfers per second with and without idle subscriptions, round by round."""

    without: list[float]
    with_idle: list[float]
    faults: int

    @property
    def share(self) -> float:
        """The median of what the rounds kept."""
        pairs = zip(self.with_idle, self.without, strict=True)
        return statistics.median(idle / plain for idle, plain in pairs)


class Subscribers:
    """The process of `bench.subscribers`."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child

    def line(self) -> str:
        """Return its next line."""
        assert self._child.stdout is not None  # noqa: S101 - for the types
        line = self._child.stdout.readline()
        if not line:
            raise BenchError(f"the subscribers ended with {self._child.wait()}")
        return line.decode()

    def say(self, order: str) -> None:
        """Give it an order."""
        assert self._child.stdin is not None  # noqa: S101 - for the types
        self._child.stdin.write(f"{order}\n".encode())
        self._child.stdin.flush()


@contextmanager
def subscribers(running: Running, ids: list[str], folder: Path) -> Iterator[Subscribers]:
    """Let connections watch an account each, from all connected to all closed."""
    path = folder / f"watched-{len(ids)}.txt"
    path.write_text(" ".join(ids))
    argv = [sys.executable, "-m", "bench.subscribers", running.base_url, str(path)]
    pipe = subprocess.PIPE
    child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, start_new_session=True)
    try:
        yield Subscribers(child)
    finally:
        stop(child)
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()


def measure_watching(settings: Settings, number: int, rate: int) -> Watching:
    """Measure the connections of one wallet."""
    ids = account_ids(number)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=settings.folder) as name,
        wallet(Path(name), 1, EWALLET_PROXIES="1") as running,
    ):
        open_accounts(running.base_url, ids)
        (proxy,) = pids_of("proxy", running.root_pids[0])
        asyncio.run(pay_at(running.base_url, ids, rate, settings.warmup_seconds))
        before = resident_bytes(proxy)
        with subscribers(running, ids, Path(name)) as watching:
            connect_seconds = float(watching.line().split()[1])
            time.sleep(SETTLE_S)
            grown = resident_bytes(proxy) - before
            watching.say("begin")
            started = time.monotonic()
            sent, refused = asyncio.run(pay_at(running.base_url, ids, rate, settings.seconds))
            seconds = time.monotonic() - started
            time.sleep(SETTLE_S)
            watching.say("end")
            heard: dict[str, Any] = json.loads(watching.line())
    if heard["lost_connections"]:
        raise BenchError(f"{heard['lost_connections']} connections were closed")
    return Watching(
        connections=number,
        connect_seconds=connect_seconds,
        bytes_per_connection=grown / number,
        transfers_per_second=sent / seconds,
        refused=refused,
        changes=heard["changes"],
        missing=2 * sent - heard["changes"],
        p50_ms=heard["p50_ms"],
        p99_ms=heard["p99_ms"],
        max_ms=heard["max_ms"],
        conflated=heard["conflated"],
    )


async def pay_at(base_url: str, ids: list[str], rate: int, seconds: int) -> tuple[int, int]:
    """Make transfers at a rate, each at its time whatever the others do; (done, refused)."""
    chance, numbers = random.Random(rate), itertools.count()  # noqa: S311 - chooses accounts
    total, statuses = rate * seconds, list[int]()
    connector = aiohttp.TCPConnector(limit=LOAD_CLIENTS)
    async with aiohttp.ClientSession(base_url, connector=connector) as session:
        began_ns = time.monotonic_ns()

        async def client() -> None:
            while (number := next(numbers)) < total:
                due_ns = began_ns + number * SECOND_NS // rate
                await asyncio.sleep((due_ns - time.monotonic_ns()) / SECOND_NS)
                payer, payee = chance.sample(ids, 2)
                statuses.append(await pay(session, payer, payee, name_of(due_ns, number)))

        await asyncio.gather(*(client() for _ in range(LOAD_CLIENTS)))
    return statuses.count(201), len(statuses) - statuses.count(201)


async def pay(session: aiohttp.ClientSession, payer: str, payee: str, transaction_id: str) -> int:
    """Make one transfer."""
    body = {
        "from_account_id": payer,
        "to_account_id": payee,
        "amount": "1.00",
        "currency": "USD",
        "transaction_id": transaction_id,
    }
    headers = {"Content-Type": "application/json"}
    async with session.post("/wallet/transfer", data=orjson.dumps(body), headers=headers) as answer:
        await answer.read()
        return answer.status


def measure_throughput(settings: Settings) -> Throughput:
    """Measure transfers in turns on one wallet, first without and then with in even rounds."""
    ids = account_ids(settings.accounts)
    idle = [f"idle-{number}" for number in range(IDLE_SUBSCRIPTIONS)]
    loads: dict[bool, list[LoadResult]] = {False: [], True: []}
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=settings.folder) as name,
        wallet(Path(name), 1, EWALLET_PROXIES="1") as running,
    ):
        folder = Path(name)
        open_accounts(running.base_url, ids + idle)
        write_accounts(folder / "accounts.txt", [ids])
        _load(running, folder, "warmup", settings.warmup_seconds)
        for number in range(settings.rounds):
            for is_watched in (False, True) if number % 2 else (True, False):
                run = f"r{number}-{is_watched}"
                with ExitStack() as connected:
                    if is_watched:
                        connected.enter_context(subscribers(running, idle, folder)).line()
                    time.sleep(SETTLE_S)
                    loads[is_watched].append(_load(running, folder, run, TURN_SECONDS))
    return Throughput(
        without=[load.per_second for load in loads[False]],
        with_idle=[load.per_second for load in loads[True]],
        faults=sum(load.faults for each in loads.values() for load in each),
    )


def _load(running: Running, folder: Path, run: str, seconds: int) -> LoadResult:
    accounts = folder / "accounts.txt"
    connections = LOAD_CONNECTIONS
    return run_wrk(
        running.base_url, accounts, run=run, seed=1, connections=connections, seconds=seconds
    )


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has in use."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1_024
    raise BenchError(f"process {pid} has ended")


def show(watching: Watching, throughput: Throughput) -> str:
    """Return the lines for people: each figure with its bound, and which were missed."""
    each_kb = watching.bytes_per_connection / 1_000
    whole = watching.changes + watching.missing
    figures = (
        f"{watching.connections} connections in {watching.connect_seconds:.1f} s"
        f" (bound: {CONNECT_SECONDS_MAX:.0f} s), {each_kb:.1f} KB of the proxy's memory each"
        f" (bound: {BYTES_PER_CONNECTION_MAX / 1_000:.0f} KB)\n"
        f"at {watching.transfers_per_second:.0f} transfers/s a change arrived after"
        f" {watching.p50_ms:.1f} ms (p50), {watching.p99_ms:.1f} ms (p99; bound:"
        f" {P99_MS_MAX:.0f} ms), {watching.max_ms:.1f} ms at most;"
        f" {watching.missing} of {whole} missing (bound: 0), {watching.conflated} conflated\n"
        f"transfers with {IDLE_SUBSCRIPTIONS} idle subscriptions: {throughput.share:.1%} of"
        f" {statistics.median(throughput.without):.0f}/s (median of rounds; bound:"
        f" {IDLE_SHARE_MIN:.0%})"
    )
    return "\n".join([figures, *(f"MISSED: {what}" for what in missed(watching, throughput))])


def missed(watching: Watching, throughput: Throughput) -> list[str]:
    """Return what was not kept, of the bounds and of what makes figures worth anything."""
    kept = {
        "time to connect": watching.connect_seconds <= CONNECT_SECONDS_MAX,
        "memory per connection": watching.bytes_per_connection <= BYTES_PER_CONNECTION_MAX,
        "p99 of the ages": watching.p99_ms <= P99_MS_MAX,
        "transfers with idle subscriptions": throughput.share >= IDLE_SHARE_MIN,
        "every change told": not watching.missing,
        "every transfer made": not watching.refused and not throughput.faults,
    }
    return [what for what, is_kept in kept.items() if not is_kept]


def main() -> int:
    """Measure, print and write; 1 if anything was missed."""
    take_no_arguments(__doc__)
    leave_on_signals()
    try:
        settings = read_settings(default=DEFAULT)
        require_wrk()
        number = int(os.environ.get("BENCH_SUBSCRIBERS", "10000"))
        rate = int(os.environ.get("BENCH_RATE", "1000"))
        description = machine.describe(settings.folder or Path(tempfile.gettempdir()))
        watching = measure_watching(settings, number, rate)
        print(watching, flush=True)
        throughput = measure_throughput(settings)
    except (BenchError, ValueError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(show(watching, throughput))
    misses = missed(watching, throughput)
    measured = {"watching": asdict(watching), "throughput": asdict(throughput), "missed": misses}
    path = write_document("subscriptions", "bench.subscriptions", settings, description, **measured)
    print(f"Written to {path}")
    return int(bool(misses))


if __name__ == "__main__":
    sys.exit(main())
