"""One supervised child process: started, watched, restarted, stopped.

The life of a child, until it is asked to stop or refuses to run:

    prepare ─▶ start ─▶ (ready) ─▶ exit ─▶ delay ─▶ prepare …

A child that must not run says so with exit code EX_CONFIG (78) and one sentence on stderr; every
other exit is a fault that a restart may cure, so it is restarted for as long as it takes.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ewallet.data_folder import rotate_log
from ewallet.tether import start_tethered
from runtime.process import Unfit

EARLY_DEATH_S: Final = 1.0
"""A child that lived less than this after its start died early: the next start waits."""
RESTART_DELAY_S_FIRST: Final = 0.1
RESTART_DELAY_S_MAX: Final = 5.0
STOP_GRACE_S: Final = 10.0
STILL_STARTING_S: Final = 10.0
"""A child that is not ready after this is reported again and again: replay takes its time."""
SENTENCE_BYTES_MAX: Final = 4_096

_LOG = logging.getLogger("ewallet")


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run as a child.

    `prepare` runs before every start, also before a restart, and may raise Unfit.
    `await_ready` returns True when the started process is ready for its work and False when it
    never will be; it is cancelled when the process dies. `essential` marks a program whose death
    before it was ever ready means that the wallet cannot be started at all. `stop_grace_s` is
    the time from SIGTERM to SIGKILL.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    prepare: Callable[[], Awaitable[None]]
    await_ready: Callable[[asyncio.subprocess.Process], Awaitable[bool]]
    essential: bool = False
    pass_fds: Sequence[int] = ()
    stop_grace_s: float = STOP_GRACE_S


def restart_delay_s(early_deaths: int) -> float:
    """Return the seconds to wait before a start that follows so many early deaths in a row."""
    if early_deaths <= 1:
        return 0.0
    return min(RESTART_DELAY_S_FIRST * 2.0 ** min(early_deaths - 2, 16), RESTART_DELAY_S_MAX)


def exit_reason(code: int) -> str:
    """Return how a process ended, from its return code, for a log line."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


class Child:
    """Runs one program again and again until `stop` is called.

    `ready` is set once it was ready for the first time; `process_id` is that of the present
    process, None between two.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ready = asyncio.Event()
        self.process_id: int | None = None
        self.stopped_cleanly = True
        self._stopping = asyncio.Event()
        self._early_deaths = 0
        self._log_start = 0

    async def run(self) -> None:
        """Keep the program running; return after `stop`. Raise Unfit if it refuses."""
        rotate_log(self.program.log)
        while not self._stopping.is_set():
            await self._prepare()
            if self._stopping.is_set():
                return
            await self._run_once()
            if not self._stopping.is_set():
                await self._delay()

    def stop(self) -> None:
        """Ask for the end: SIGTERM, and SIGKILL after the grace. `run` returns after it."""
        self._stopping.set()

    async def _prepare(self) -> None:
        """Prepare a start, or give that up when the end is asked for."""
        preparing = asyncio.ensure_future(self.program.prepare())
        await _first_of(preparing, self._stopping.wait())
        if not preparing.cancelled():
            preparing.result()

    async def _run_once(self) -> None:
        """Run one process from its start to its end."""
        clock = asyncio.get_running_loop().time
        self._log_start = _size(self.program.log)
        process = await self._start()
        started_s = clock()
        self.process_id = process.pid
        readiness = asyncio.create_task(self._follow_readiness(process))
        try:
            await _first_of(process.wait(), self._stopping.wait())
            if self._stopping.is_set():
                await self._end(process)
        finally:
            self.process_id = None
            readiness.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await readiness
        if not self._stopping.is_set():
            early = clock() - started_s < EARLY_DEATH_S
            self._early_deaths = self._early_deaths + 1 if early else 0
            self._judge_exit(process.returncode or 0)

    async def _start(self) -> asyncio.subprocess.Process:
        program = self.program
        try:
            return await start_tethered(
                program.arguments, program.environment, program.log, pass_fds=program.pass_fds
            )
        except OSError as fault:
            raise Unfit(
                f"{program.name} cannot be started: {program.arguments[0]}: {fault.strerror}"
            ) from fault

    async def _follow_readiness(self, process: asyncio.subprocess.Process) -> None:
        """Note when the process is ready, complain while it is not, and drain its stdout."""
        name = self.program.name
        waiting = asyncio.ensure_future(self.program.await_ready(process))
        try:
            while not (await asyncio.wait({waiting}, timeout=STILL_STARTING_S))[0]:
                _LOG.info("%s is still starting (log: %s)", name, self.program.log)
            is_ready = waiting.result()
        finally:
            waiting.cancel()
        if is_ready:
            self._note_ready(process.pid)
        assert process.stdout is not None  # noqa: S101 - start_tethered makes it a pipe
        while await process.stdout.read(65_536):
            pass  # a full pipe would stop the child

    def _note_ready(self, process_id: int) -> None:
        if self.ready.is_set():
            _LOG.info("%s is ready again (process %d)", self.program.name, process_id)
        self.ready.set()

    def _judge_exit(self, code: int) -> None:
        """Log a fault; raise Unfit for an exit that no restart cures."""
        program = self.program
        if code == os.EX_CONFIG:
            raise Unfit(f"{program.name} refuses to run: {self._last_sentence()}")
        if program.essential and not self.ready.is_set():
            raise Unfit(
                f"{program.name} {exit_reason(code)} before it was ready: {self._last_sentence()}"
            )
        delay_s = restart_delay_s(self._early_deaths)
        _LOG.warning(
            "%s %s and is restarted %s; its last words: %s",
            program.name,
            exit_reason(code),
            f"in {delay_s:g} s" if delay_s else "at once",
            self._last_sentence(),
        )

    async def _delay(self) -> None:
        delay_s = restart_delay_s(self._early_deaths)
        if delay_s:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self.program.stop_grace_s)
        except TimeoutError:
            self.stopped_cleanly = False
            _LOG.warning(
                "%s did not stop within %g s and is killed",
                self.program.name,
                self.program.stop_grace_s,
            )
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _last_sentence(self) -> str:
        """Return the last line that the process wrote into its log."""
        with self.program.log.open("rb") as log:
            log.seek(max(self._log_start, _size(self.program.log) - SENTENCE_BYTES_MAX))
            lines = log.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else f"none (log: {self.program.log})"


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


async def _first_of(*waits: Awaitable[object]) -> None:
    """Return when one of the waits is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
