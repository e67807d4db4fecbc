"""`python -m reader` runs a reader; `python -m reader rebuild` makes its read store anew.

One line on stdout says `ready`; everything else goes to stderr. Exit codes: 0 after SIGTERM or
SIGINT, 78 (EX_CONFIG) with one sentence where a restart does not help, 1 after any other fault.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator

import uvloop

from broker.port import BrokerFault, BrokerUnfit
from broker.witness import WitnessContradicted, WitnessDamaged
from reader.bootstrap import rebuild, serve
from reader.config import BadSetting, Settings, settings_from
from reader.ports import ReaderFault, ReaderUnfit

_UNFIT = (BadSetting, BrokerUnfit, ReaderUnfit, WitnessContradicted, WitnessDamaged)
_FAULTS = (BrokerFault, ReaderFault)

_log = logging.getLogger("reader")


def main() -> int:
    """Run until told to stop; give the exit code."""
    if not __debug__:
        return _refuse("The reader's checks are asserts: start it without -O and PYTHONOPTIMIZE.")
    if sys.argv[1:] not in ([], ["rebuild"]):
        return _refuse(f"The reader knows no {' '.join(sys.argv[1:])!r}, only `rebuild`.")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        settings = settings_from(os.environ)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_rebuild(settings) if sys.argv[1:] else _serve(settings))
    except Exception as error:  # noqa: BLE001  # the exit code is decided here, nothing is hidden
        return _exit_code(error)
    return 0


async def _serve(settings: Settings) -> None:
    await serve(settings, _stop_signal(), lambda: print("ready", flush=True))  # noqa: T201  # for the parent


async def _rebuild(settings: Settings) -> None:
    await rebuild(settings, _stop_signal())


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _exit_code(error: Exception) -> int:
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, _UNFIT):
            return _refuse(str(cause))
    for cause in causes:
        if isinstance(cause, _FAULTS):
            _log.error("%s", cause)
        else:
            _log.critical("a bug stopped the reader", exc_info=cause)
    return 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What failed, out of the groups that task groups make."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return os.EX_CONFIG


if __name__ == "__main__":
    sys.exit(main())
