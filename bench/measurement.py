"""One system from its start to its end: accounts, warm-up, a measured load per connection count."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench import accounts
from bench.cpu import GroupTime, group_times, machine_busy_us
from bench.load import run_wrk
from bench.processes import Running
from bench.settings import BenchError, Settings

WARMUP_CONNECTIONS = 64


@dataclass(frozen=True)
class Subject:
    """A system that can be started on an empty folder, and how its accounts are partitioned."""

    name: str
    partitions: int
    start: Callable[[Path], AbstractContextManager[Running]]


@dataclass(frozen=True)
class Measurement:
    """What one load gave. CPU time is in microseconds per transfer, by group of processes.

    "wrk" is the load generator; "elsewhere" is what the machine spent on anything else: the
    kernel's own threads, and whatever disturbed the run.
    """

    subject: str
    connections: int
    round: int
    transfers_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us_per_transfer: dict[str, float]
    processes: dict[str, int]


def measure(
    subject: Subject, settings: Settings, round_number: int, versions: dict[str, str]
) -> list[Measurement]:
    """Start the subject on a fresh folder, load it, and stop it.

    Adds the versions of its servers to `versions`. Raises BenchError when any transfer was not
    answered with 201 or when the balances don't sum to zero afterwards.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=settings.folder) as name,
        subject.start(Path(name)) as running,
    ):
        versions.update(running.versions)
        ids = accounts.account_ids(settings.accounts)
        accounts.open_accounts(running.base_url, ids)
        groups = accounts.by_partition(ids, subject.partitions)
        # Beside the subject's folder, which may belong to another user by now.
        with tempfile.NamedTemporaryFile("w", suffix=".txt", dir=settings.folder) as file:
            path = Path(file.name)
            accounts.write_accounts(path, groups)
            loads = _Loads(running, path, subject, round_number)
            loads.run("warm", WARMUP_CONNECTIONS, settings.warmup_seconds)
            measured = [
                loads.run(f"c{connections}", connections, settings.seconds)
                for connections in settings.connections
            ]
        accounts.check_sum_is_zero(running.base_url, ids)
        return measured


class _Loads:
    """The loads of one started subject, each with transaction ids of its own."""

    def __init__(self, running: Running, path: Path, subject: Subject, round_number: int) -> None:
        self._running = running
        self._path = path
        self._subject = subject
        self._round = round_number

    def run(self, name: str, connections: int, seconds: int) -> Measurement:
        before = group_times(self._running.root_pids, self._running.label)
        busy_before_us = machine_busy_us()
        result = run_wrk(
            self._running.base_url,
            self._path,
            run=name,
            seed=self._round * 1000 + connections,
            connections=connections,
            seconds=seconds,
        )
        busy_us = machine_busy_us() - busy_before_us
        after = group_times(self._running.root_pids, self._running.label)
        if result.faults or not result.requests:
            raise BenchError(
                f"{self._subject.name}, {connections} connections: {result.faults} of"
                f" {result.requests} transfers failed; the first: {result.first_refusal!r}"
            )
        return Measurement(
            subject=self._subject.name,
            connections=connections,
            round=self._round,
            transfers_per_second=round(result.per_second, 1),
            p50_ms=result.p50_us / 1000,
            p99_ms=result.p99_us / 1000,
            cpu_us_per_transfer=cpu_per_transfer(
                before,
                after,
                busy_us=busy_us,
                wrk_cpu_us=result.wrk_cpu_us,
                transfers=result.requests,
            ),
            processes={group: time.processes for group, time in sorted(after.items())},
        )


def cpu_per_transfer(
    before: dict[str, GroupTime],
    after: dict[str, GroupTime],
    *,
    busy_us: int,
    wrk_cpu_us: int,
    transfers: int,
) -> dict[str, float]:
    """Divide what each group used during a load by its transfers, in microseconds."""
    none = GroupTime(0, 0)
    used_us = {group: time.cpu_us - before.get(group, none).cpu_us for group, time in after.items()}
    used_us["wrk"] = wrk_cpu_us
    used_us["elsewhere"] = max(0, busy_us - sum(used_us.values()))
    return {group: round(time / max(1, transfers), 1) for group, time in used_us.items()}
