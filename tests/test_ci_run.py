"""`.ci/run` ends the Docker engine that was started for it, and no other.

The tools that it calls are scripts here, and the engine is a process that sleeps.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

RUN: Final = Path(__file__).parent.parent / ".ci" / "run"
DEADLINE_S: Final = 30

MAKE: Final = 'echo "make $1" >>$CALLS; [ "$1" != "$FAILS" ]'
DOCKER: Final = '[ -n "${DOCKER_HOST:-}" ]'
SETUP: Final = """
echo setup >>$CALLS
cd "$(dirname "$0")"
if ! [ -e engine.pid ]; then
    setsid sleep 300 >/dev/null 2>&1 &
    echo $! >engine.pid
fi
echo a line that is not to be run
echo export DOCKER_HOST=unix://$PWD/docker.sock
"""
TEARDOWN: Final = """
echo teardown >>$CALLS
cd "$(dirname "$0")"
kill "$(cat engine.pid)" && rm engine.pid
"""


class Machine:
    """Where a clone is, beside a folder with the scripts for an engine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = folder / "calls"
        scripts = folder / "beside" / "docker"
        self.engine = scripts / "engine.pid"
        """There while it runs."""
        self.setup, self.teardown = scripts / "setup.sh", scripts / "teardown.sh"
        tools = {"make": MAKE, "docker": DOCKER}
        texts = {folder / "bin" / name: text for name, text in tools.items()}
        for path, text in (texts | {self.setup: SETUP, self.teardown: TEARDOWN}).items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{text}")
            path.chmod(0o755)
        (folder / "clone").mkdir()

    def run(self, program: Path, *, fails: str = "", docker_host: str = "") -> int:
        """Its exit code."""
        environment = os.environ | {
            "PATH": f"{self._folder}/bin:{os.environ['PATH']}",
            "CALLS": str(self._calls),
            "FAILS": fails,
            "DOCKER_HOST": docker_host,
            "DOCKER_SETUP": "",
        }
        return subprocess.run(
            [program], cwd=self._folder / "clone", env=environment, timeout=DEADLINE_S, check=False
        ).returncode

    def calls(self) -> list[str]:
        """Since the last time."""
        calls = self._calls.read_text().splitlines()
        self._calls.unlink()
        return calls


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    if machine.engine.exists():
        machine.run(machine.teardown)


def test_an_engine_that_was_started_for_it_ends_with_it(machine: Machine) -> None:
    assert machine.run(RUN) == 0
    assert machine.calls() == ["make test", "make browser", "setup", "make e2e", "teardown"]
    assert not machine.engine.exists()


def test_so_it_does_after_a_failure(machine: Machine) -> None:
    assert machine.run(RUN, fails="e2e") != 0
    assert machine.calls() == ["make test", "make browser", "setup", "make e2e", "teardown"]


def test_an_engine_that_the_script_only_tells_of_goes_on(machine: Machine) -> None:
    """Somebody started it before, and works with it."""
    machine.run(machine.setup)
    assert machine.calls() == ["setup"]
    assert machine.run(RUN) == 0
    assert machine.calls() == ["make test", "make browser", "setup", "make e2e"]
    assert machine.engine.exists()


def test_where_an_engine_answers_none_is_started(machine: Machine) -> None:
    assert machine.run(RUN, docker_host="unix:///there") == 0
    assert machine.calls() == ["make test", "make browser", "make e2e"]
