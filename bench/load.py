"""Loads a system with wrk and reads what came of it."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import stop
from bench.settings import BenchError

SCRIPT = Path(__file__).with_name("transfers.lua")
REQUEST_TIMEOUT_SECONDS = 10
_RESULT = re.compile(r"^RESULT (.+)$", re.MULTILINE)
_REFUSAL = re.compile(r"^REFUSAL (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class LoadResult:
    """What wrk saw. `faults` counts answers other than 201 and broken or timed-out requests."""

    requests: int
    seconds: float
    p50_us: int
    p99_us: int
    faults: int
    first_refusal: str
    wrk_cpu_us: int

    @property
    def per_second(self) -> float:
        """Transfers per second."""
        return self.requests / self.seconds


def require_wrk() -> str:
    """Return the path of wrk, or raise BenchError that says how to get it."""
    path = shutil.which("wrk")
    if path is None:
        raise BenchError(
            "wrk, the load generator, is not installed.\n"
            "  Debian, Ubuntu:  apt install wrk\n"
            "  Fedora:          dnf install wrk\n"
            "  macOS:           brew install wrk"
        )
    return path


def parse_wrk(output: str, wrk_cpu_us: int) -> LoadResult:
    """Read the RESULT and REFUSAL lines that `transfers.lua` writes; BenchError without them."""
    found = _RESULT.search(output)
    if found is None:
        raise BenchError(f"wrk reported no result:\n{output}")
    pairs = (pair.partition("=") for pair in found[1].split())
    numbers = {name: int(number) for name, _, number in pairs}
    refusal = _REFUSAL.search(output)
    return LoadResult(
        requests=numbers["requests"],
        seconds=numbers["duration_us"] / 1_000_000,
        p50_us=numbers["p50_us"],
        p99_us=numbers["p99_us"],
        faults=sum(numbers[name] for name in ("not_201", "connect", "read", "write", "timeout")),
        first_refusal=refusal[1] if refusal else "",
        wrk_cpu_us=wrk_cpu_us,
    )


def run_wrk(
    base_url: str, accounts: Path, *, run: str, seed: int, connections: int, seconds: int
) -> LoadResult:
    """Load for some seconds. `run` makes the transaction ids, `seed` the choice of accounts."""
    return parse_wrk(
        *run_script(
            SCRIPT,
            [str(accounts), run, str(seed)],
            base_url=base_url,
            connections=connections,
            seconds=seconds,
        )
    )


def run_script(
    script: Path, arguments: Sequence[str], *, base_url: str, connections: int, seconds: int
) -> tuple[str, int]:
    """Run wrk with a script of ours; return what it printed and its CPU time in microseconds."""
    argv = [
        require_wrk(),
        "-t1",
        f"-c{connections}",
        f"-d{seconds}",
        f"--timeout={REQUEST_TIMEOUT_SECONDS}",
        f"--script={script}",
        base_url,
        "--",
        *arguments,
    ]
    child = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        output = child.stdout.read() if child.stdout else b""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        stop(child)
        if child.stdout:
            child.stdout.close()
    cpu_us = int((usage.ru_utime + usage.ru_stime) * 1_000_000)
    return output.decode(errors="replace"), cpu_us
