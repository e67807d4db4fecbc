"""The cells of the benchmark of the four ways, and how a block of them is measured.

A block is one wallet, started on an empty folder, under one kind of load: uniform or hot accounts,
one number of connections. Its cells are the shares of transfers between partitions, each by each
way. What a cell is compared with, transfers that stay within a partition, is measured in the same
block before and after the others, so that a slow minute of the machine touches both sides.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import accounts
from bench.accounts import open_accounts
from bench.cell_load import CellLoad, load
from bench.choice import DISTRIBUTIONS, PARTITIONS, choice_of
from bench.cpu import GroupTime, group_times, machine_busy_us
from bench.measurement import cpu_per_transfer
from bench.monitor import Counters, read_counters, settle
from bench.processes import Running
from bench.settings import Settings
from bench.wallet import wallet
from bench.way_check import check_ways

WAYS = ("choreography", "orchestration", "tcc", "2pc")
NO_WAY = "none"
"""The way of a transfer within one partition: it needs none."""
SHARES_PERCENT = (10, 50, 100)
WARMUP_CONNECTIONS = 64


@dataclass(frozen=True)
class Block:
    """A kind of load on one started wallet."""

    round: int
    distribution: str
    connections: int
    shares_percent: tuple[int, ...] = SHARES_PERCENT

    def cells(self) -> list[tuple[str, int]]:
        """Return (way, share in percent) in the order of measuring.

        Each round another way comes first, because the journals grow from cell to cell.
        """
        first = (self.round - 1) % len(WAYS)
        ways = WAYS[first:] + WAYS[:first]
        base = (NO_WAY, 0)
        return [base, *((way, share) for share in self.shares_percent for way in ways), base]


@dataclass(frozen=True)
class CellMeasurement:
    """What one load of one cell gave. Transfers per second are completed ones (201) only.

    `messages`, `fsyncs` and CPU time (by group of processes) are per transfer that was sent;
    `refused`, `timed_out` and `faults` are numbers of answers; `drain_seconds` is how long the
    journals went on after the load.
    """

    distribution: str
    connections: int
    way: str
    share_percent: int
    round: int
    transfers_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    sent: int
    refused: dict[str, int]
    timed_out: int
    faults: int
    first_fault: str
    messages: float
    fsyncs: float
    cpu_us_per_transfer: dict[str, float]
    drain_seconds: float


@dataclass(frozen=True)
class Spent:
    """What was counted until a moment: by nats-server, and of CPU time."""

    counters: Counters
    cpu: dict[str, GroupTime]
    busy_us: int


def blocks(settings: Settings) -> list[Block]:
    """Return the blocks of all rounds. The last of a round shows each way alone: one client."""
    return [
        block
        for number in range(1, settings.rounds + 1)
        for block in [
            *(
                Block(number, distribution, connections)
                for distribution in DISTRIBUTIONS
                for connections in settings.connections
            ),
            Block(number, "uniform", 1, shares_percent=(100,)),
        ]
    ]


def measure_block(
    block: Block, settings: Settings, versions: dict[str, str]
) -> Iterator[CellMeasurement]:
    """Start a wallet, measure the block's cells one after another, and stop it.

    Raises BenchError when a way was not heeded, or when the balances don't sum to 0 at the end.
    """
    ids = accounts.account_ids(settings.accounts)
    choice = choice_of(block.distribution, ids)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=settings.folder) as name,
        wallet(Path(name), PARTITIONS) as running,
    ):
        versions.update(running.versions)
        open_accounts(running.base_url, ids)
        path = Path(name) / "accounts.txt"
        choice.write(path)
        check_ways(running.base_url, choice, WAYS)
        loads = _Loads(running, path, block)
        loads.load(WAYS[0], 50, "warm", WARMUP_CONNECTIONS, settings.warmup_seconds)
        settle(running.monitor_url)
        for number, (way, share) in enumerate(block.cells()):
            yield loads.measure(way, share, f"cell-{number}", settings.seconds)
        accounts.check_sum_is_zero(running.base_url, ids)


class _Loads:
    """The loads of one started wallet, each with transaction ids of its own."""

    def __init__(self, running: Running, path: Path, block: Block) -> None:
        self._running = running
        self._path = path
        self._block = block

    def load(
        self, way: str, share_percent: int, run: str, connections: int, seconds: int
    ) -> CellLoad:
        return load(
            self._running.base_url,
            self._path,
            way=WAYS[0] if way == NO_WAY else way,
            share_percent=share_percent,
            run=run,
            seed=self._block.round * 1000 + share_percent,
            connections=connections,
            seconds=seconds,
        )

    def measure(self, way: str, share_percent: int, run: str, seconds: int) -> CellMeasurement:
        before = self._spent()  # quiet: the load before settled
        result = self.load(way, share_percent, run, self._block.connections, seconds)
        _, drain_seconds = settle(self._running.monitor_url)
        after = self._spent()
        return cell_measurement(
            self._block, (way, share_percent), result, (before, after), drain_seconds
        )

    def _spent(self) -> Spent:
        running = self._running
        return Spent(
            counters=read_counters(running.monitor_url),
            cpu=group_times(running.root_pids, running.label),
            busy_us=machine_busy_us(),
        )


def cell_measurement(
    block: Block,
    cell: tuple[str, int],
    result: CellLoad,
    spent: tuple[Spent, Spent],
    drain_seconds: float,
) -> CellMeasurement:
    """Put together what wrk saw and what was spent between two moments."""
    way, share_percent = cell
    before, after = spent
    counted = after.counters.since(before.counters)
    return CellMeasurement(
        distribution=block.distribution,
        connections=block.connections,
        way=way,
        share_percent=share_percent,
        round=block.round,
        transfers_per_second=round(result.completed / result.seconds, 1),
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        max_ms=result.max_ms,
        sent=result.sent,
        refused=result.refused,
        timed_out=result.timed_out,
        faults=result.faults,
        first_fault=result.first_fault,
        messages=round(counted.messages / max(1, result.sent), 3),
        fsyncs=round(counted.fsyncs / max(1, result.sent), 3),
        cpu_us_per_transfer=cpu_per_transfer(
            before.cpu,
            after.cpu,
            busy_us=after.busy_us - before.busy_us,
            wrk_cpu_us=result.wrk_cpu_us,
            transfers=result.sent,
        ),
        drain_seconds=drain_seconds,
    )
