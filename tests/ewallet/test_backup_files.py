"""A backup gets its name once it is whole, and takes nobody else's."""

import os
from pathlib import Path

import pytest

from ewallet.backup.files import written_whole
from runtime.process import Unfit


def _without_links(*_arguments: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture(params=["with links", "without links"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a backup shall be, on two kinds of file systems."""
    if request.param == "without links":
        monkeypatch.setattr(os, "link", _without_links)
    return tmp_path / "a.backup"


def test_a_backup_gets_its_name_when_it_is_whole(path: Path) -> None:
    with written_whole(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_was_made_while_the_backup_was_taken_is_not_replaced(path: Path) -> None:
    def take() -> None:
        with written_whole(path) as file:
            file.write(b"late")
            path.write_bytes(b"somebody's")

    with pytest.raises(Unfit, match="exists already"):
        take()
    assert path.read_bytes() == b"somebody's"
    assert list(path.parent.iterdir()) == [path]
