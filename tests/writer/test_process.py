"""The writer as a process of its own: what it refuses to run on."""

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

DEADLINE_S = 30.0


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_server_that_does_not_sync_always_is_refused(tmp_path: Path) -> None:
    port, monitor = free_port(), free_port()
    server = subprocess.Popen(
        [
            Path(sys.executable).parent / "nats-server",
            *("-js", "-sd", tmp_path / "nats", "-a", "127.0.0.1"),
            *("-p", str(port), "-m", str(monitor)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    try:
        for line in server.stderr:
            if "Server is ready" in line:
                break
        writer = subprocess.run(
            [sys.executable, "-m", "writer"],
            env={
                **os.environ,
                "EWALLET_NATS_URL": f"nats://127.0.0.1:{port}",
                "EWALLET_NATS_MONITOR_URL": f"http://127.0.0.1:{monitor}",
                "EWALLET_PARTITIONS": "1",
                "EWALLET_DATA_DIR": str(tmp_path / "data"),
            },
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
    finally:
        server.terminate()
        with server:
            server.wait(DEADLINE_S)
    assert writer.returncode == os.EX_CONFIG
    assert "sync_interval: always" in writer.stderr.splitlines()[-1]
