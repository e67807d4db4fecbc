"""Which files the read store consists of, and who may use them.

    <data>/reader/lock                            held by the one reader that runs on the folder
    <data>/reader/rebuild.lock                    held by the one rebuild
    <data>/reader/partition-3.generation-1.sqlite (and -wal, -shm while it is open)
    <data>/reader/partition-3.building.sqlite     of a rebuild that is not finished

The newest generation counts. A rebuild adds one by renaming a finished file; it never touches a
file that a running reader has open, because an old WAL beside a new file would destroy it.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reader.ports import ReaderUnfit


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock of the folder; raise ReaderUnfit if another process holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ReaderUnfit(
            f"Another process works on the read store in {folder} ({name} is held): stop it, or "
            "give this one another EWALLET_DATA_DIR."
        ) from error
    finally:
        os.close(descriptor)


def present_file(folder: Path, partition: int) -> Path:
    """The file to use, which need not exist yet. Older generations are removed.

    Call it with the folder's `lock` held and nothing open.
    """
    generations = _generations(folder, partition)
    if not generations:
        return _path(folder, partition, 1)
    *older, newest = sorted(generations)
    for generation in older:
        _remove(_path(folder, partition, generation))
    return _path(folder, partition, newest)


def building_file(folder: Path, partition: int) -> Path:
    """A name for a file to rebuild into; what an earlier rebuild left there is removed."""
    path = folder / f"partition-{partition}.building.sqlite"
    _remove(path)
    return path


def promote(folder: Path, partition: int) -> Path:
    """Make the finished and closed building file the newest generation; give its new name."""
    building = folder / f"partition-{partition}.building.sqlite"
    target = _path(folder, partition, max(_generations(folder, partition), default=0) + 1)
    _sync(building)
    building.rename(target)
    _sync(folder)
    return target


def _generations(folder: Path, partition: int) -> list[int]:
    pattern = re.compile(rf"partition-{partition}\.generation-([0-9]+)\.sqlite")
    matches = (pattern.fullmatch(path.name) for path in folder.iterdir())
    return [int(match[1]) for match in matches if match]


def _path(folder: Path, partition: int, generation: int) -> Path:
    return folder / f"partition-{partition}.generation-{generation}.sqlite"


def _remove(path: Path) -> None:
    """Remove a store file with what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def store_folder(data_dir: Path) -> Path:
    """Where the read store lies in a data folder; one reader process uses it at a time."""
    return data_dir / "reader"
