"""What a service does not use it does not import: its start takes cores from those that live."""

import subprocess
import sys

import msgspec
import pytest

from reader.adapters.store_postgresql_migrating import migrate
from reader.config import DatabaseAddress

WEB = {"aiohttp.client", "aiohttp.web"}
MIGRATING = {"alembic", "sqlalchemy"}
OPENING = """
import msgspec
from reader.adapters.store_postgresql_opening import postgresql_stores
from reader.config import DatabaseAddress
with postgresql_stores(msgspec.json.decode(sys.argv[1], type=DatabaseAddress), range(2)):
    pass
"""


def _imported(code: str, *arguments: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)", *arguments],
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("role", "unused"), [("writer", WEB), ("reader", WEB | MIGRATING | {"psycopg"})]
)
def test_a_service_imports_nothing_that_it_does_not_use(role: str, unused: set[str]) -> None:
    imported = _imported(f"import {role}.__main__")
    assert f"{role}.bootstrap" in imported
    assert not imported & unused


@pytest.mark.server
@pytest.mark.parametrize("is_made", [False, True])
def test_a_reader_imports_the_migrating_tool_only_for_tables_not_yet_made(
    database: DatabaseAddress, *, is_made: bool
) -> None:
    if is_made:
        migrate(database)
    imported = _imported(OPENING, msgspec.json.encode(database).decode())
    assert bool(imported & MIGRATING) is not is_made
