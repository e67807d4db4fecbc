"""The wallet under load: the embedded stack, as `ewallet up` starts it, on a fresh folder."""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.cpu import arguments, descendants, running_processes
from bench.processes import Running, free_port, started
from bench.settings import BenchError

ROLES = ("nats-server", "writer", "reader", "proxy", "up")
_MONITOR = re.compile(r"(?m)^NATS .* monitoring (http://\S+)$")


def role_of(argv: Sequence[str]) -> str:
    """Name a process of the stack by the first word of its command line that is a role."""
    for word in argv[:4]:
        name = Path(word).name
        if name in ROLES:
            return name
    return "other"


@contextmanager
def wallet(folder: Path, partitions: int, **settings: str) -> Iterator[Running]:
    """Run the embedded stack; the caller's other `EWALLET_*` variables stay in force."""
    port = free_port()
    environment = {
        "EWALLET_DATA_DIR": str(folder / "data"),
        "EWALLET_HTTP_HOST": "127.0.0.1",
        "EWALLET_HTTP_PORT": str(port),
        "EWALLET_PARTITIONS": str(partitions),
        **settings,
    }
    command: list[str | Path] = [Path(sys.executable).with_name("ewallet"), "up"]
    log = folder / "ewallet.log"
    with started(command, log=log, ready=r"(?m)^ready\b", environment=environment) as pid:
        yield Running(
            base_url=f"http://127.0.0.1:{port}",
            root_pids=(pid,),
            label=role_of,
            versions={"nats-server": _nats_server_version(pid)},
            monitor_url=monitor_url(log.read_text(errors="replace")),
        )


def monitor_url(announcement: str) -> str:
    """Find nats-server's monitoring address in what `ewallet up` says when it is ready."""
    found = _MONITOR.search(announcement)
    if found is None:
        raise BenchError(f"`ewallet up` did not name a monitoring address:\n{announcement}")
    return found[1]


def pids_of(role: str, root: int) -> list[int]:
    """Return the processes of a role below `root`, in rising order."""
    below = descendants([root], running_processes())
    return sorted(pid for pid in below if role_of(arguments(pid)) == role)


def coordinator_pid(root: int) -> int:
    """Return the writer that leads the coordinator alone, below `root`."""
    for pid in pids_of("writer", root):
        if b"EWALLET_WRITES=coordinator" in Path(f"/proc/{pid}/environ").read_bytes():
            return pid
    raise BenchError("the wallet has no coordinator in a process of its own")


def _nats_server_version(root: int) -> str:
    """Ask the very binary that runs below `root`."""
    for pid in pids_of("nats-server", root):
        binary = Path(f"/proc/{pid}/exe").readlink()
        answer = subprocess.run([binary, "--version"], capture_output=True, check=True)
        return answer.stdout.decode().strip()
    return "unknown"
