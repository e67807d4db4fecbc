"""Loads the wallet with transfers of which a share goes to another partition, by wrk."""

import re
from dataclasses import dataclass
from pathlib import Path

from bench.load import run_script
from bench.settings import BenchError

SCRIPT = Path(__file__).with_name("coordination.lua")
WAIT_SECONDS = 2
"""A client that has no answer by then counts as timed out: the wallet says 202."""
_RESULT = re.compile(r"^RESULT (.+)$", re.MULTILINE)
_REFUSED = re.compile(r"^REFUSED (\w+)=(\d+)$", re.MULTILINE)
_FAULT = re.compile(r"^FAULT (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class CellLoad:
    """What wrk saw of one load.

    `sent` counts requests, also those that had no answer when the load ended. Answers are
    completed (201), refused (422, by code) or timed out (202); faults are all others and broken
    connections. Latencies are those of all answers.
    """

    sent: int
    completed: int
    refused: dict[str, int]
    timed_out: int
    faults: int
    first_fault: str
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    wrk_cpu_us: int


def parse_load(output: str, wrk_cpu_us: int) -> CellLoad:
    """Read the lines that `coordination.lua` writes; BenchError without them."""
    found = _RESULT.search(output)
    if found is None:
        raise BenchError(f"wrk reported no result:\n{output}")
    pairs = (pair.partition("=") for pair in found[1].split())
    numbers = {name: int(number) for name, _, number in pairs}
    fault = _FAULT.search(output)
    return CellLoad(
        sent=numbers["sent"],
        completed=numbers["completed"],
        refused={code: int(number) for code, number in _REFUSED.findall(output)},
        timed_out=numbers["pending"] + numbers["timeout"],
        faults=sum(numbers[name] for name in ("other", "connect", "read", "write")),
        first_fault=fault[1] if fault else "",
        seconds=numbers["duration_us"] / 1_000_000,
        p50_ms=numbers["p50_us"] / 1000,
        p99_ms=numbers["p99_us"] / 1000,
        max_ms=numbers["max_us"] / 1000,
        wrk_cpu_us=wrk_cpu_us,
    )


def load(
    base_url: str,
    accounts: Path,
    *,
    way: str,
    share_percent: int,
    run: str,
    seed: int,
    connections: int,
    seconds: int,
) -> CellLoad:
    """Load for some seconds. `run` makes the transaction ids, `seed` the choice of accounts."""
    arguments = [str(accounts), f"{share_percent / 100:g}", way, str(WAIT_SECONDS), run, str(seed)]
    return parse_load(
        *run_script(SCRIPT, arguments, base_url=base_url, connections=connections, seconds=seconds)
    )
