"""A backup on its way to its place: under another name until it is whole and on the disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from ewallet.data_folder import PRIVATE_FILE
from runtime.process import Unfit

SUFFIX: Final = ".backup"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def place_of(target: Path, now: datetime) -> Path:
    """The file to write: the one named, or a new one in the folder named. Raise Unfit."""
    path = target / f"ewallet-{now:%Y%m%dT%H%M%SZ}{SUFFIX}" if target.is_dir() else target
    if path.exists():
        raise _taken(path)
    if not path.parent.is_dir():
        raise Unfit(f"There is no folder {path.parent}.")
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is complete and fsynced, and vanishes otherwise.

    Raise Unfit if somebody made a file of that name meanwhile: nothing is replaced.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with os.fdopen(os.open(draft, _NEW, PRIVATE_FILE), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _give_name(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def _give_name(draft: Path, path: Path) -> None:
    """Name a file as no other is named; a rename alone would replace the other one."""
    try:
        try:
            os.link(draft, path)
        except FileExistsError:
            raise
        except OSError:  # this file system has no links, as on a memory stick
            os.close(os.open(path, _NEW, PRIVATE_FILE))
            draft.rename(path)
    except FileExistsError:
        raise _taken(path) from None


def _taken(path: Path) -> Unfit:
    return Unfit(f"{path} exists already: a backup replaces nothing. Name another file.")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
