"""What a benchmark does when it is asked to end: it stops everything that it started."""

import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_on_signals() -> None:
    """Turn Ctrl-C, SIGTERM and SIGHUP into SystemExit."""
    for name in _SIGNALS:
        signal.signal(name, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Unwind, which stops everything that was started; further signals can't cut that short."""
    for name in _SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    sys.exit(128 + number)
