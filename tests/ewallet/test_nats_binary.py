"""Which nats-server is run, and which is refused."""

import sys
from pathlib import Path

import pytest

from ewallet.nats_binary import check_version, find_nats_server, parse_version
from runtime.process import Unfit


def program(folder: Path, says: str) -> Path:
    """Write a program called nats-server that prints one line."""
    folder.mkdir(parents=True)
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("nats-server: v2.15.1\n", (2, 15, 1)),
        ("nats-server: v2.12.0-RC.1\n", (2, 12, 0)),
        ("something else v2.15.1\n", None),
        ("", None),
    ],
)
def test_version_is_read_from_its_line(output: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(output) == version


def test_named_server_wins_then_the_path_then_the_environment(tmp_path: Path) -> None:
    named = program(tmp_path / "named", "nats-server: v2.13.0")
    on_path = program(tmp_path / "path", "nats-server: v2.14.0")
    search = str(on_path.parent)
    assert find_nats_server(str(named), search) == named
    assert find_nats_server(None, search) == on_path
    shipped = find_nats_server(None, str(tmp_path))
    assert shipped == Path(sys.executable).parent / "nats-server"


def test_named_server_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Another one is not taken instead: the name was given for a reason."""
    with pytest.raises(Unfit, match=r"EWALLET_NATS_SERVER names .*install nats-server"):
        find_nats_server(str(tmp_path / "nats-server"))


@pytest.mark.server
@pytest.mark.parametrize("version", ["2.12.0", "2.15.1", "3.0.0"])
async def test_version_that_is_new_enough_is_accepted(tmp_path: Path, version: str) -> None:
    binary = program(tmp_path / "bin", f"nats-server: v{version}")
    assert await check_version(binary) == version


@pytest.mark.server
@pytest.mark.parametrize("version", ["2.11.9", "1.99.0"])
async def test_version_that_is_too_old_is_refused(tmp_path: Path, version: str) -> None:
    binary = program(tmp_path / "bin", f"nats-server: v{version}")
    with pytest.raises(Unfit, match=rf"{version}, which is too old: install .* 2\.12"):
        await check_version(binary)


@pytest.mark.server
async def test_program_that_is_no_nats_server_is_refused(tmp_path: Path) -> None:
    binary = program(tmp_path / "bin", "hello")
    with pytest.raises(Unfit, match="does not answer --version"):
        await check_version(binary)
