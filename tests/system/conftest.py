"""Fixtures of the system tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.embedded_stack import Stack


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack that is not started yet; nothing of it is left running."""
    stack = Stack(tmp_path / "wallet")
    yield stack
    stack.end()
