"""One wallet per folder, and what is fixed for the folder's life."""

import json
import os
import stat
from pathlib import Path

import pytest

from ewallet.data_folder import (
    DataFolder,
    lock_folder,
    open_data_folder,
    rotate_log,
    settle_partitions,
    write_private,
)
from runtime.process import Unfit


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return open_data_folder(tmp_path / "data")


def test_second_wallet_on_a_folder_is_refused_until_the_first_is_gone(folder: DataFolder) -> None:
    first = lock_folder(folder)
    with pytest.raises(Unfit, match=rf"process {os.getpid()}\) runs on"):
        lock_folder(folder)
    os.close(first)
    os.close(lock_folder(folder))


def test_lock_is_not_handed_to_children(folder: DataFolder) -> None:
    descriptor = lock_folder(folder)
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize(("wanted", "stored"), [(None, 1), (1, 1), (4, 4)])
def test_new_folder_takes_the_partitions_asked_for(
    folder: DataFolder, wanted: int | None, stored: int
) -> None:
    assert settle_partitions(folder, wanted) == stored
    assert settle_partitions(folder, None) == stored
    assert settle_partitions(folder, stored) == stored
    assert json.loads(folder.identity.read_text()) == {"format": 1, "partitions": stored}


def test_other_number_of_partitions_is_refused(folder: DataFolder) -> None:
    settle_partitions(folder, 2)
    with pytest.raises(Unfit, match=r"made with 2 partition\(s\).* 4 are asked for"):
        settle_partitions(folder, 4)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 2, "partitions": 1}', '{"format": 1, "partitions": "1"}'],
)
def test_unreadable_record_is_refused_and_kept(folder: DataFolder, text: str) -> None:
    folder.identity.write_text(text)
    with pytest.raises(Unfit, match=str(folder.identity)):
        settle_partitions(folder, None)
    assert folder.identity.read_text() == text


def test_store_without_its_record_is_refused(folder: DataFolder) -> None:
    """Guessing the number of partitions would send accounts to the wrong journals."""
    folder.store.mkdir()
    with pytest.raises(Unfit, match="is missing"):
        settle_partitions(folder, 1)
    assert not folder.identity.exists()


def test_data_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unfit, match="cannot be made"):
        open_data_folder(tmp_path / "file" / "data")


def test_secrets_are_readable_by_the_owner_alone(folder: DataFolder) -> None:
    write_private(folder.nats_configuration, "secret")
    write_private(folder.nats_configuration, "another secret")
    assert stat.S_IMODE(folder.nats_configuration.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700
    assert folder.nats_configuration.read_text() == "another secret"


def test_only_a_log_that_outgrew_its_bound_is_rotated(folder: DataFolder) -> None:
    log = folder.log("writer")
    rotate_log(log, bytes_max=4)
    log.write_text("1234")
    rotate_log(log, bytes_max=4)
    assert log.read_text() == "1234"
    log.write_text("12345")
    rotate_log(log, bytes_max=4)
    assert not log.exists()
    assert log.with_name("writer.log.1").read_text() == "12345"
