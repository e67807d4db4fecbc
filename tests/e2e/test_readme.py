"""The README's calls, on a cluster of docker-compose.yml alone."""

import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.e2e.cluster import FILES, REPOSITORY, Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.faults]

SHOWN_AT: Final = "127.0.0.1:8080"
OF_THAT_DAY: Final = {"partition", "sequence", "coordination", "opened_at", "completed_at", "as_of"}
"""Members whose values another run on other partitions answers otherwise."""

Shown = tuple[str, str]
"""A command, and what it is said to print."""


@pytest.fixture(scope="module")
def plain_cluster(cluster: Cluster) -> Iterator[Cluster]:  # noqa: ARG001  # its images are built
    """A second one, of docker-compose.yml alone."""
    plain = Cluster(f"ewallet-readme-{secrets.token_hex(4)}", FILES[:1])
    try:
        plain.up()
        yield plain
    finally:
        plain.down(forget=True)


def first_transfer() -> list[Shown]:
    """The commands under that title of the README, each with what it shows below."""
    chapter = (REPOSITORY / "README.md").read_text().split("## The first transfer")[1]
    console = re.split(r"^```$", chapter, flags=re.MULTILINE)[1]
    shown: list[Shown] = []
    for paragraph in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command = re.match(r".*(\n +.*)*", paragraph)
        assert command
        shown.append((command[0], paragraph[command.end() :].strip()))
    return shown


def run(cluster: Cluster, command: str) -> str:
    """Run a command of the README against a cluster; give what it prints."""
    assert SHOWN_AT in command
    there = command.replace(SHOWN_AT, f"127.0.0.1:{cluster.port}")
    done = subprocess.run(
        ["sh", "-c", there], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, f"{there}:\n{done.stderr}"
    return done.stdout


def document(printed: str) -> dict[str, Any]:
    """The JSON at the end."""
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def any_day(found: dict[str, Any]) -> dict[str, Any]:
    """The same whenever and on however many partitions it is answered."""
    return {name: ... if name in OF_THAT_DAY else value for name, value in found.items()}


def headers(printed: str) -> set[str]:
    """Their names, which the entry writes in small letters."""
    return {line.partition(":")[0].lower() for line in printed.splitlines()[1:-1] if line.strip()}


def test_the_first_transfer_is_answered_as_the_readme_shows(plain_cluster: Cluster) -> None:
    shown = first_transfer()
    assert len(shown) == 4
    printed = {command: run(plain_cluster, command) for command, _ in shown}
    for command, says in shown:
        assert any_day(document(printed[command])) == any_day(document(says))
    (transfer, says) = next(each for each in shown if "/wallet/transfer" in each[0])
    assert printed[transfer].splitlines()[0] == says.splitlines()[0]
    assert headers(printed[transfer]) == headers(says)
    again = run(plain_cluster, transfer)
    assert "idempotent-replayed: true" in again.lower()
    assert document(again) == document(printed[transfer])
