"""What a NATS cluster is configured with: the same as the embedded server, and its routes."""

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from contracts.limits import COMMAND_QUEUE_BYTES_MAX
from ewallet.command_cluster_config import cluster_config
from ewallet.nats_binary import find_nats_server
from ewallet.nats_configuration import NatsSettings, render
from ewallet.permissions import Role, permissions_of_roles

SERVERS = ["nats-1", "nats-2", "nats-3"]
PARTITIONS = 2


def write(directory: Path, *arguments: str) -> Result:
    command = [str(directory), "--servers", ",".join(SERVERS), f"--partitions={PARTITIONS}"]
    return CliRunner().invoke(cluster_config, [*command, *arguments])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """With the files of a cluster in it."""
    assert write(tmp_path).exit_code == 0
    return tmp_path


def configuration(directory: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory / "nats" / "nats-server.conf").read_text())
    return document


def test_a_cluster_grants_and_keeps_what_the_embedded_server_does(directory: Path) -> None:
    cluster = configuration(directory)
    passwords = {role: (directory / role.value / "nats-password").read_text() for role in Role}
    embedded = NatsSettings(
        server_name="x", port=1, monitor_port=2, store=Path("/data"), passwords=passwords
    )
    alone = json.loads(render(embedded, permissions_of_roles(PARTITIONS)))
    own = {"server_name", "listen", "http"}
    queues = PARTITIONS + 1  # the coordinator's too
    assert cluster["jetstream"].pop("max_memory_store") == queues * COMMAND_QUEUE_BYTES_MAX
    assert {name: alone[name] for name in set(alone) - own} == {
        name: cluster[name] for name in set(cluster) - own - {"cluster", "accounts"}
    }


def test_servers_know_each_other_by_a_password_and_tell_clients_no_addresses(
    directory: Path,
) -> None:
    cluster = configuration(directory)["cluster"]
    password = (directory / "nats" / "route-password").read_text()
    assert cluster["authorization"] == {"user": "route", "password": password}
    assert cluster["routes"] == [
        f"nats-route://route:{password}@{server}:6222" for server in SERVERS
    ]
    assert cluster["no_advertise"] is True
    assert (cluster["ping_interval"], cluster["ping_max"]) == ("1s", 2), "dead routes end soon"


def test_passwords_differ_stay_and_are_private(directory: Path) -> None:
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    passwords = {path: path.read_text() for path in files if path.name.endswith("password")}
    assert len(set(passwords.values())) == 6
    assert write(directory).exit_code == 0
    assert {path: path.read_text() for path in passwords} == passwords


def test_readers_find_the_password_that_postgresql_is_made_with(directory: Path) -> None:
    password = (directory / "postgres" / "password").read_text()
    assert (directory / "reader" / "pgpass").read_text() == f"*:*:*:*:{password}\n"


def test_the_sentinel_may_ask_for_votes_and_hear_nothing(directory: Path) -> None:
    password = (directory / "sentinel" / "nats-password").read_text()
    permissions = {
        "publish": {"allow": ["$NRG.V.*"]},
        "subscribe": {"allow": ["_INBOX_sentinel.>"]},
    }
    user = {"user": "sentinel", "password": password, "permissions": permissions}
    assert configuration(directory)["accounts"] == {"$SYS": {"users": [user]}}


@pytest.mark.server
def test_the_server_takes_the_configuration(directory: Path) -> None:
    conf = directory / "nats" / "nats-server.conf"
    command = [str(find_nats_server(None)), "--name", "nats-1", "--config", str(conf), "-t"]
    subprocess.run(command, check=True, timeout=20)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "nats").write_text("in the way")
    result = write(tmp_path)
    assert result.exit_code == 1
    assert "can't be written as it is" in result.output
