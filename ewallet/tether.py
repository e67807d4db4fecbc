"""Starting a child process that cannot outlive this one.

A child gets a session of its own, so that Ctrl-C reaches the supervisor alone and the children
stop in order. On Linux the kernel kills it when the supervisor dies, even by kill -9. Elsewhere
it would go on; the lock on the store (data_folder) then keeps a second nats-server out.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>
PRIVATE_LOG: Final = 0o600


async def start_tethered(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    *,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Start a program whose stderr is appended to `log` and whose stdout is a pipe.

    Must be called on the main thread: the kernel watches the thread that started the child.
    Raises OSError when the program cannot be started.
    """
    stderr = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_LOG)
    try:
        return await asyncio.create_subprocess_exec(
            *arguments,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            preexec_fn=_die_with(os.getpid()),
        )
    finally:
        os.close(stderr)


def _die_with(parent: int) -> Callable[[], None] | None:
    """Return what a fresh child does before its program starts, or None where nothing helps."""
    if sys.platform != "linux":
        return None
    # Loaded before the fork: after it, only the system call is left to do.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was told to watch it
            os._exit(os.EX_UNAVAILABLE)

    return die_with_parent
