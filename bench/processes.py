"""Starts programs, waits until they are open for business, and stops them whatever happens."""

import os
import pwd
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.settings import BenchError

STOP_SECONDS_MAX = 20
READY_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Running:
    """A system that takes requests: where, and whose CPU time is to be counted.

    `label` gives the name of a process' group from its command line (its arguments).
    `monitor_url` is that of the wallet's nats-server; empty for a system that has none.
    """

    base_url: str
    root_pids: tuple[int, ...]
    label: Callable[[Sequence[str]], str]
    versions: Mapping[str, str] = field(default_factory=dict)
    monitor_url: str = ""


def free_port() -> int:
    """Return a port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(
    argv: Sequence[str | Path],
    *,
    log: Path,
    ready: str,
    ready_seconds: float = 30,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
) -> Iterator[int]:
    """Run a program, give its pid once the expression `ready` is in its output, and stop it.

    It gets a session of its own, so that Ctrl-C reaches only the benchmark, which then stops
    its programs in order. Raises BenchError with the end of its output if it isn't ready in time.
    """
    with log.open("wb") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else {**os.environ, **environment},
            user=user,
            group=user and group_of(user),
            extra_groups=[] if user else None,
            start_new_session=True,
        )
        try:
            _await_ready(child, log, re.compile(ready), ready_seconds)
            yield child.pid
        except BenchError as error:
            if child.poll() is not None:  # what went wrong follows from that
                raise BenchError(f"{error}\n{_last_words(child, log)}") from error
            raise
        finally:
            stop(child, stop_signal)


def group_of(user: str) -> int:
    """Return the number of a user's own group."""
    return pwd.getpwnam(user).pw_gid


def _await_ready(
    child: subprocess.Popen[bytes], log: Path, ready: re.Pattern[str], seconds: float
) -> None:
    name = log.stem
    deadline = time.monotonic() + seconds
    while not ready.search(log.read_text(errors="replace")):
        if child.poll() is not None:
            raise BenchError(_last_words(child, log))
        if time.monotonic() > deadline:
            raise BenchError(f"{name} was not ready in {seconds} s:\n{tail(log)}")
        time.sleep(READY_POLL_SECONDS)


def _last_words(child: subprocess.Popen[bytes], log: Path) -> str:
    return f"{log.stem} ended with {child.returncode}:\n{tail(log)}"


def tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a program's output."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def stop(child: subprocess.Popen[bytes], stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """Ask a program to stop; kill what is left of its session when it doesn't in time."""
    if child.poll() is None:
        child.send_signal(stop_signal)
        with suppress(subprocess.TimeoutExpired):
            child.wait(STOP_SECONDS_MAX)
    # The group outlives its leader as long as a descendant does.
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
