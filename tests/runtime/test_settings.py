"""What every service reads from its environment."""

from pathlib import Path

import pytest

from runtime.process import Unfit
from runtime.settings import read_secret, read_service_settings

SEVERAL = "nats://writer@nats-1:4222, nats://writer@nats-2:4222"


def nats_url(tmp_path: Path, url: str, password: str) -> str:
    file = tmp_path / "password"
    file.write_text(password)
    environment = {
        "EWALLET_NATS_URL": url,
        "EWALLET_NATS_PASSWORD_FILE": str(file),
        "EWALLET_PARTITIONS": "1",
    }
    return read_service_settings(environment).nats_url


@pytest.mark.parametrize("password", ["secret", "secret\n"])
def test_each_server_of_a_cluster_gets_the_password_of_the_file(
    tmp_path: Path, password: str
) -> None:
    found = nats_url(tmp_path, SEVERAL, password)
    assert found == "nats://writer:secret@nats-1:4222,nats://writer:secret@nats-2:4222"


@pytest.mark.parametrize("url", ["nats://nats-1:4222", "nats://writer:other@nats-1:4222"])
def test_an_address_that_leaves_no_room_for_the_password_is_refused(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(Unfit, match=r"names a user and no password: nats://writer@host:4222"):
        nats_url(tmp_path, url, "secret")


def test_a_websocket_to_the_servers_is_refused(tmp_path: Path) -> None:
    """nats-py would need an HTTP library for it, which a writer does without."""
    with pytest.raises(Unfit, match="nats:// or tls:// addresses"):
        nats_url(tmp_path, "nats://writer@nats-1:4222, wss://writer@nats-2:443", "secret")


@pytest.mark.parametrize("password", ["a b", "a@b", "ä", "a\n\n"])
def test_a_password_that_an_address_cannot_hold_is_refused(tmp_path: Path, password: str) -> None:
    with pytest.raises(Unfit, match="may hold letters, digits"):
        nats_url(tmp_path, SEVERAL, password)


def test_a_secret_that_is_named_must_be_there(tmp_path: Path) -> None:
    assert read_secret({}, "EWALLET_X") is None
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "missing"):
        with pytest.raises(Unfit, match="EWALLET_X_FILE names"):
            read_secret({"EWALLET_X_FILE": str(tmp_path / name)}, "EWALLET_X")


@pytest.mark.parametrize("replicas", ["0", "6", "three"])
def test_replicas_are_one_to_five(replicas: str) -> None:
    environment = {"EWALLET_PARTITIONS": "1", "EWALLET_REPLICAS": replicas}
    with pytest.raises(Unfit, match="EWALLET_REPLICAS must be a whole number from 1 to 5"):
        read_service_settings(environment)


def test_one_copy_is_kept_unless_more_are_asked_for() -> None:
    assert read_service_settings({"EWALLET_PARTITIONS": "1"}).replicas == 1
