"""The PostgreSQL peer under load: a fresh cluster with full durability, and its web processes."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg

from bench.processes import Running, free_port, started

SCHEMA = Path(__file__).with_suffix(".sql")
WEB_PROGRAM = Path(__file__).with_name("postgresql_web.py")

# fsync, synchronous_commit and full_page_writes keep their defaults: on. The rest is what anyone
# sets on a machine with memory to spare, and keeps a checkpoint out of a run of some minutes.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
}

HOW_TO_INSTALL = (
    "PostgreSQL is not installed: the wallet runs alone and the ratio is missing.\n"
    "  Debian, Ubuntu:  apt install postgresql\n"
    "  elsewhere:       put the folder of initdb and postgres on PATH"
)


def find_binaries() -> Path | None:
    """Return the folder of initdb and postgres: from PATH, else Debian's newest."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(versions, key=lambda path: float(path.parts[-3]))
    return newest[-1].parent if newest else None


def process_group(argv: Sequence[str]) -> str:
    """Name a process: a backend serves one connection, the rest of the server serves them all."""
    words = " ".join(argv)
    if words.startswith("postgres: bench "):
        return "backends"
    return "postgres" if "postgres" in argv[0] else "web"


@contextmanager
def postgresql(folder: Path, binaries: Path, connections: int) -> Iterator[Running]:
    """Make a cluster in `folder`, start it and its web process, and stop both.

    There is one web process, with `connections` to the server.
    """
    user = _server_user()
    if user is not None:
        shutil.chown(folder, user)
    _initialise(folder / "cluster", binaries, user)
    with ExitStack() as stack:
        server = stack.enter_context(_server(folder, binaries, user))
        dsn = f"postgresql://bench@/postgres?host={folder}"
        asyncio.run(_create_schema(dsn))
        port = free_port()
        web = stack.enter_context(_web_process(folder, dsn, port, connections))
        yield Running(
            base_url=f"http://127.0.0.1:{port}",
            root_pids=(server, web),
            label=process_group,
            versions={"postgresql": _version(binaries)},
        )


def _server_user() -> str | None:
    """Return who is to run the server: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _initialise(cluster: Path, binaries: Path, user: str | None) -> None:
    argv: list[str | Path] = [binaries / "initdb", "-D", cluster, "--auth=trust", "-U", "bench"]
    argv += ["--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run(argv, check=True, user=user, cwd=cluster.parent, stdout=subprocess.DEVNULL)


@contextmanager
def _server(folder: Path, binaries: Path, user: str | None) -> Iterator[int]:
    argv: list[str | Path] = [binaries / "postgres", "-D", folder / "cluster", "-k", folder]
    for name, value in SERVER_SETTINGS.items():
        argv += ["-c", f"{name}={value}"]
    with started(
        argv,
        log=folder / "postgres.log",
        ready="ready to accept connections",
        user=user,
        stop_signal=signal.SIGINT,  # PostgreSQL's fast shutdown: it doesn't wait for its clients
    ) as pid:
        yield pid


@contextmanager
def _web_process(folder: Path, dsn: str, port: int, connections: int) -> Iterator[int]:
    argv: list[str | Path] = [sys.executable, WEB_PROGRAM, dsn, str(port), str(connections)]
    with started(argv, log=folder / "web.log", ready=r"(?m)^ready$") as pid:
        yield pid


async def _create_schema(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(SCHEMA.read_text())
    finally:
        await connection.close()


def _version(binaries: Path) -> str:
    answer = subprocess.run([binaries / "postgres", "--version"], capture_output=True, check=True)
    return answer.stdout.decode().strip()
