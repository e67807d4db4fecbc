"""A service that is told to stop before it has got anywhere ends as it should."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server

DEADLINE_S = 30.0


@pytest.mark.parametrize("role", ["proxy", "reader", "writer"])
def test_who_waits_for_a_server_that_says_nothing_ends_when_told_to(
    tmp_path: Path, role: str
) -> None:
    """It would give up by itself, after ten seconds and as one that failed."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE_S)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        settings = {
            "EWALLET_NATS_URL": f"nats://{address}",
            "EWALLET_NATS_MONITOR_URL": f"http://{address}",
            "EWALLET_PARTITIONS": "1",
            "EWALLET_DATA_DIR": str(tmp_path),
        }
        with subprocess.Popen(
            [sys.executable, "-m", role],
            env=os.environ | settings,
            stderr=subprocess.PIPE,
            text=True,
        ) as service:
            try:
                connection, _ = silent.accept()
                with connection:
                    service.send_signal(signal.SIGTERM)
                    _, said = service.communicate(timeout=DEADLINE_S)
            finally:
                service.kill()
    assert service.returncode == 0, said
