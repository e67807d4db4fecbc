"""`ewallet up` says no in one clear sentence, with exit code 78, and starts nothing."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ewallet.data_folder import lock_folder, open_data_folder, settle_partitions

pytestmark = pytest.mark.server

EX_CONFIG = 78


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def check(data: Path, sentence: str, **settings: str) -> None:
    """Run `ewallet up` with settings and expect its refusal; nothing may have been started."""
    environment = {name: value for name, value in os.environ.items() if "EWALLET" not in name}
    environment |= {"EWALLET_DATA_DIR": str(data), "EWALLET_HTTP_PORT": "0", **settings}
    ended = subprocess.run(
        [sys.executable, "-m", "ewallet", "up"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert sentence in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "ready" not in ended.stdout
    assert ended.returncode == EX_CONFIG
    assert not list(data.glob("logs/*"))


def test_second_instance_on_the_same_folder(data: Path) -> None:
    lock = lock_folder(open_data_folder(data))
    check(data, f"Another `ewallet up` (process {os.getpid()}) runs on the data folder {data}")
    os.close(lock)


def test_busy_port(data: Path) -> None:
    """It settles nothing: the next start may ask for any number of partitions."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = str(other.getsockname()[1])
        check(data, f"Port {port} on 127.0.0.1 is in use", EWALLET_HTTP_PORT=port)
    assert settle_partitions(open_data_folder(data), 4) == 4


def test_address_that_others_reach(data: Path) -> None:
    check(data, "0.0.0.0 is not a loopback address", EWALLET_HTTP_HOST="0.0.0.0")  # noqa: S104
    assert not data.exists()


def test_missing_nats_server(data: Path) -> None:
    check(data, "which is not an executable file", EWALLET_NATS_SERVER=str(data / "none"))
    assert not data.exists()


def test_nats_server_that_is_too_old(data: Path, tmp_path: Path) -> None:
    old = tmp_path / "nats-server"
    old.write_text("#!/bin/sh\necho 'nats-server: v2.10.7'\n")
    old.chmod(0o755)
    check(data, "is nats-server 2.10.7, which is too old", EWALLET_NATS_SERVER=str(old))
    assert not data.exists()


def test_other_number_of_partitions(data: Path) -> None:
    settle_partitions(open_data_folder(data), 2)
    check(data, "made with 2 partition(s)", EWALLET_PARTITIONS="3")


def test_folder_that_cannot_be_made(data: Path) -> None:
    data.parent.chmod(0o700)
    data.write_text("a file")
    check(data / "below", "cannot be made")
