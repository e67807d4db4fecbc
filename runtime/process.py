"""The life of one service process, the same for writer, reader and proxy.

It prints the line `ready` on standard output once it does its work, logs to standard error, ends
with 0 on SIGTERM or SIGINT, with EXIT_UNFIT after one sentence if a restart would not help, and
with 1 otherwise: its supervisor then starts it again.

Where nobody reads its standard output, as in a container, EWALLET_READY_FILE names a file that it
touches each second from then on: one that is missing or old tells that the work is not done.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

from broker.port import Broker, BrokerFault, BrokerUnfit
from broker.witness import WitnessContradicted, WitnessDamaged, WitnessInUse
from contracts.chain import MadeByAnotherVersion

_log = logging.getLogger(__name__)

EXIT_UNFIT: Final = 78
"""EX_CONFIG of sysexits.h."""

T = TypeVar("T")

_ASKED_AGAIN_S: Final = 0.1
"""Between two questions of a starting process for what is not there yet."""
_BEAT_S: Final = 1.0
_GC_THRESHOLDS: Final = (20_000, 50, 1_000)
"""Reference cycles are rare here: connections and exceptions make a few. By Python's own thresholds
a recovery spends a twentieth of its time on walks over what it has just made."""

_UV_THREADS: Final = "32"
"""libuv looks names up in half of its threads. It would have 4: then two lookups of a name that
nobody answers for, as after a machine died, hold up all others for 10 s. All are started at the
first one, and a process that gets fewer is aborted: a container's `pids_limit` must allow them."""


class Unfit(Exception):
    """The process must not run as things are; the message says what to do."""


_UNFIT: Final = (
    Unfit,
    BrokerUnfit,
    MadeByAnotherVersion,
    WitnessContradicted,
    WitnessDamaged,
    WitnessInUse,
)


class Fault(Exception):
    """An operating failure that a restart may cure."""


class Stopped(Exception):
    """The process was told to stop before it had what it waited for."""


def run_service(name: str, serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `serve(stop)` on uvloop until it returns or raises Stopped, after stop is set."""
    if not __debug__:
        sys.exit(_refused(f"{name}: do not run with python -O: asserts guard the money."))
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s {name} %(levelname)s %(name)s: %(message)s"
    )
    gc.set_threshold(*_GC_THRESHOLDS)
    os.environ.setdefault("UV_THREADPOOL_SIZE", _UV_THREADS)
    try:
        uvloop.run(_until_stopped(serve))
    except Exception as error:  # noqa: BLE001  # the exit code is decided here, nothing is hidden
        sys.exit(_exit_code(name, list(_causes(error))))


def _exit_code(name: str, causes: list[Exception]) -> int:
    for cause in causes:
        if isinstance(cause, _UNFIT):
            return _refused(f"{name}: {cause}")
    for cause in causes:
        if isinstance(cause, (BrokerFault, Fault)):
            _log.error("%s", cause)
        else:
            _log.critical("a bug stopped the %s", name, exc_info=cause)
    return 1


def _causes(error: Exception) -> Iterator[Exception]:
    """What failed, out of the groups that task groups make."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error


def _refused(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return EXIT_UNFIT


def say_ready() -> None:
    """Tell the supervisor that the process does its work now.

    What was built until now stays; sparing the collector its walks over it, and all but a few of
    the others (_GC_THRESHOLDS), takes about 7 % off a proxy's CPU (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    if ready_file := _ready_file():
        _beat(asyncio.get_running_loop(), ready_file)


def _ready_file() -> Path | None:
    path = os.environ.get("EWALLET_READY_FILE")
    return Path(path) if path else None


def _beat(loop: asyncio.AbstractEventLoop, ready_file: Path) -> None:
    """Touch the file now and each second: a loop that hangs lets it grow old."""
    ready_file.touch()
    loop.call_later(_BEAT_S, _beat, loop, ready_file)


async def run_until(stop: asyncio.Event, *works: Coroutine[Any, Any, None]) -> None:
    """Run works until stop is set; the first that ends before that ends all, with its error."""
    tasks = [asyncio.create_task(work) for work in works]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for each in (*tasks, stopping):
            each.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives. Raise Stopped if stop is set before; then the work is cancelled."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait({working})
        raise Stopped
    return working.result()


async def once_there(broker: Broker, ask: Callable[[], Awaitable[T]], what: str) -> T:
    """What a question to the broker gives once it gives something; `what` names it for the log.

    Who makes it may start after this process, so this waits as long as it takes. Raise
    BrokerUnfit as the question does, and BrokerFault when the connection is given up meanwhile.
    """
    told = ""
    while True:
        try:
            return await ask()
        except BrokerUnfit:
            raise
        except BrokerFault as fault:
            if str(fault) != told:
                told = str(fault)
                _log.warning("waiting for %s: %s", what, told)
        with suppress(TimeoutError):
            async with asyncio.timeout(_ASKED_AGAIN_S):
                await lose(broker)


async def lose(broker: Broker) -> None:
    """Raise BrokerFault when the connection is given up for good: a new process gets a new one."""
    await broker.closed()
    raise BrokerFault("the connection to the broker is closed for good")


def _tell_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """As usual, but for look-ups of names that nobody waited for to their end.

    While a server's name is gone there are several a second.
    """
    if not isinstance(context.get("exception"), socket.gaierror):
        loop.default_exception_handler(context)


async def _until_stopped(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_tell_unhandled)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ready_file = _ready_file()
    try:
        if ready_file:
            ready_file.unlink(missing_ok=True)  # of a process before this one
        with suppress(Stopped):
            await serve(stop)
    finally:
        if ready_file:
            ready_file.unlink(missing_ok=True)
