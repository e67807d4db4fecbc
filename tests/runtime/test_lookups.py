"""A process of the wallet looks up the names of servers that live while others' are not told."""

import os
import subprocess
import sys
from pathlib import Path

SERVICE = """
import asyncio
import os

from runtime.process import run_service


async def serve(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    pending = [loop.create_task(loop.getaddrinfo(f"gone-{n}", 4222)) for n in range(8)]
    await asyncio.sleep(0)  # they begin
    found = await loop.getaddrinfo("localhost", 4222)
    assert not any(each.done() for each in pending), "they were to wait"
    print("found" if found else "not found", flush=True)
    os._exit(0)


run_service("lookups", serve)
"""


LEFT = """
import asyncio
import gc
import socket

from runtime.process import run_service


async def serve(stop: asyncio.Event) -> None:
    for error in (socket.gaierror("no such name"), ValueError("a bug")):
        asyncio.get_running_loop().create_future().set_exception(error)
    gc.collect()


run_service("lookups", serve)
"""


def test_a_failed_look_up_that_nobody_waits_for_any_more_is_not_told() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LEFT],
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        timeout=20,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "a bug" in run.stderr
    assert "no such name" not in run.stderr


def test_names_that_nobody_answers_for_do_not_hold_up_others(tmp_path: Path) -> None:
    """The C library reads HOSTALIASES for names that are not in /etc/hosts, here for ever."""
    os.mkfifo(tmp_path / "aliases")
    run = subprocess.run(
        [sys.executable, "-c", SERVICE],
        cwd=tmp_path,
        env=os.environ | {"HOSTALIASES": "aliases", "PYTHONPATH": str(Path.cwd())},
        timeout=20,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "found\n", run.stderr
