"""The file by which a container's health check sees that a service does its work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DEADLINE_S = 20.0
SERVICE = """
import asyncio, sys
from runtime.process import run_service, say_ready

async def serve(stop):
    say_ready()
    sys.stdin.readline()
    await stop.wait()

run_service("service", serve)
"""


def await_touch(ready: Path, than_ns: int) -> int:
    """Return the time of a touch later than one that was seen."""
    deadline = time.monotonic() + DEADLINE_S
    while not ready.exists() or ready.stat().st_mtime_ns <= than_ns:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return ready.stat().st_mtime_ns


def test_the_ready_file_lives_while_the_loop_turns(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.touch()
    os.utime(ready, ns=(0, 0))  # left behind by a process that was killed
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE],
        env=os.environ | {"EWALLET_READY_FILE": str(ready)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as service:
        first = await_touch(ready, 0)
        assert service.stdin is not None
        service.stdin.write(b"\n")  # until then the loop hangs
        service.stdin.flush()
        await_touch(ready, first)
        service.send_signal(signal.SIGTERM)
        assert service.wait(DEADLINE_S) == 0
    assert not ready.exists()
