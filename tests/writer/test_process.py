"""The writer as a process of its own: what it refuses to run on, and what it waits for."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bench.nats_cluster import SERVERS, NatsCluster

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


def test_servers_that_have_not_chosen_leaders_yet_are_waited_for(tmp_path: Path) -> None:
    """As after a start of everything: who ended then would be started again, and not be healthy."""
    with waiting_writer(tmp_path) as (writer, servers):
        assert writer.stdout is not None
        for number in range(1, SERVERS):
            servers.start(number)
        assert writer.stdout.readline() == "ready\n"


def test_a_writer_that_waits_for_servers_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with waiting_writer(tmp_path) as (writer, _):
        writer.terminate()
        assert writer.wait() == 0


@contextmanager
def waiting_writer(folder: Path) -> Iterator[tuple[subprocess.Popen[str], NatsCluster]]:
    """One whose streams have no leaders, as one of three servers runs; and the servers."""
    servers = NatsCluster(folder, partitions=1)
    servers.start(0)
    try:
        with started_writer(servers, folder) as writer:
            assert writer.stderr is not None
            assert any("waiting for the streams" in line for line in writer.stderr)
            yield writer, servers
    finally:
        servers.stop()


@contextmanager
def started_writer(servers: NatsCluster, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """One that keeps three copies; what it says is there to be read for DEADLINE_S."""
    settings = {
        "EWALLET_NATS_URL": ",".join(servers.nats_urls("writer")),
        "EWALLET_NATS_MONITOR_URL": ",".join(servers.monitor_urls),
        "EWALLET_PARTITIONS": "1",
        "EWALLET_REPLICAS": str(SERVERS),
        "EWALLET_DATA_DIR": str(folder / "data"),
    }
    writer = subprocess.Popen(
        ["timeout", "--kill-after=1", str(DEADLINE_S), sys.executable, "-m", "writer"],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with writer:
        try:
            yield writer
        finally:
            writer.terminate()
