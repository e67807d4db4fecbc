"""The whole embedded wallet, driven from outside: HTTP, signals, files."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest

from broker.store_blocks import Record
from broker.store_files import read_stream, stream_folders
from contracts.chain import Chained, follow, genesis
from contracts.events import Event
from contracts.subjects import journal_stream, journal_subject

STOP_S_MAX = 20.0


class Stack:
    """One `ewallet up` on a data folder of its own."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.url = ""
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None

    def configure(self, **settings: str) -> Self:
        """Add EWALLET_* settings for the next start."""
        self._settings |= settings
        return self

    def start(self) -> Self:
        """Return when it is open for business."""
        process = self._process = self._spawn()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("ready: "):
                self.url = line.split()[1]
                return self
        pytest.fail(f"ewallet up ended with {process.wait()}:\n{self.errors()}")

    def refuses_to_start(self) -> str:
        """Start, see it end with a non-zero code, and return what it said."""
        self._process = self._spawn()
        assert self._wait() != 0
        return self.errors()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask for the end and see a clean one."""
        assert self._process is not None
        self._process.send_signal(number)
        code = self._wait()
        assert number == signal.SIGKILL or code == 0, self.errors()

    def end(self) -> None:
        """Whatever happened before: nothing is left running."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._wait()

    def kill(self, role: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal the first child of a role."""
        os.kill(self.pids(role)[0], number)

    def kill_everything(self) -> None:
        """As a power switch would: all at once, the children with their supervisor."""
        self.stop(signal.SIGKILL)
        deadline = time.monotonic() + STOP_S_MAX
        while _holders(self.data) and time.monotonic() < deadline:
            time.sleep(0.02)

    def pids(self, role: str) -> list[int]:
        """Process ids of the children of a role: nats-server, writer, reader or proxy."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        pids = map(int, children.read_text().split())
        return [pid for pid in pids if role in _words(pid)]

    def errors(self) -> str:
        """What it has written to standard error so far."""
        return self._stderr.read_text()

    def events(self, partition: int = 0) -> list[Event]:
        """All events of the stopped wallet's journal, read from the server's files."""
        (folder,) = stream_folders(self.data / "nats", journal_stream(partition))
        tip, events = genesis(partition), []
        stream, subject = journal_stream(partition), journal_subject(partition)
        for record in read_stream(folder, stream, subject):
            assert isinstance(record, Record), record
            link = follow(tip, record.payload)
            if isinstance(link, Chained):
                tip = link.tip
                events += link.frame.events
        return events

    def _wait(self) -> int:
        process, self._process = self._process, None
        assert process is not None
        with process:
            return process.wait(STOP_S_MAX)

    @property
    def _stderr(self) -> Path:
        return self.data.parent / f"{self.data.name}.stderr"

    def _spawn(self) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if "EWALLET" not in name}
        settings = {"EWALLET_DATA_DIR": str(self.data), "EWALLET_HTTP_PORT": "0"}
        with self._stderr.open("ab") as stderr:
            return subprocess.Popen(
                [sys.executable, "-m", "ewallet", "up"],
                env=inherited | settings | self._settings,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )


def _holders(data: Path) -> list[str]:
    """Processes whose command line names the data folder: its nats-server, when it lives."""
    lines = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [each.name for each in lines if str(data) in _command(int(each.name))]


def _words(pid: int) -> list[str]:
    """The command line's words, without the folders of the program."""
    program, *arguments = _command(pid).split("\0")
    return [Path(program).name, *arguments]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
