"""The data folder of an embedded wallet: what lies where, who may use it, what it was made for.

<data>/lock              held by the one `ewallet up` that runs on this folder
<data>/ewallet.json      what is fixed for the folder's life: format and partitions
<data>/restoring         there from the beginning to the end of `ewallet restore`
<data>/nats/             nats-server's store: the journals and the slot map
<data>/damaged-snapshots  put aside because no nats-server could be started on them
<data>/nats.lock         held by the nats-server that runs on the store
<data>/nats-server.conf  made anew at every start, with fresh passwords
<data>/reader/           the read store, which is made anew from the journals when it is missing
<data>/witness/          what the services remember about the journals, to notice damage
<data>/logs/             one file per child process
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from runtime.process import Unfit

FORMAT = 1
LOG_BYTES_MAX = 10 * 1024 * 1024
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


@dataclass(frozen=True)
class DataFolder:
    """The paths inside one data folder; `root` is absolute."""

    root: Path

    @property
    def lock(self) -> Path:
        """The lock of the running `ewallet up`."""
        return self.root / "lock"

    @property
    def identity(self) -> Path:
        """What is fixed for the folder's life."""
        return self.root / "ewallet.json"

    @property
    def restoring(self) -> Path:
        """Which backup is being restored here: nothing may run on the folder."""
        return self.root / "restoring"

    @property
    def store(self) -> Path:
        """The folder of nats-server."""
        return self.root / "nats"

    @property
    def damaged_snapshots(self) -> Path:
        """Where damaged snapshots are put aside, the last ones only."""
        return self.root / "damaged-snapshots"

    @property
    def store_lock(self) -> Path:
        """The lock of the running nats-server."""
        return self.root / "nats.lock"

    @property
    def nats_configuration(self) -> Path:
        """The configuration of the present nats-server, with the passwords of this start."""
        return self.root / "nats-server.conf"

    def log(self, name: str) -> Path:
        """The log file of the child process `name`."""
        return self.root / "logs" / f"{name}.log"


def open_data_folder(path: Path) -> DataFolder:
    """Return the data folder at `path`, made when it is not there yet.

    Raises Unfit when it cannot be made or written.
    """
    root = path.expanduser().absolute()
    try:
        (root / "logs").mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        root.chmod(PRIVATE_FOLDER)
    except OSError as fault:
        raise Unfit(
            f"The data folder {root} cannot be made or written: {fault.strerror}"
        ) from fault
    return DataFolder(root)


def lock_folder(folder: DataFolder) -> int:
    """Take the folder for this process and return the descriptor that holds the lock.

    The kernel frees the lock when this process ends, however it ends. Children do not inherit
    the descriptor. Raises Unfit when another process holds it.
    """
    descriptor = os.open(folder.lock, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    if not try_lock(descriptor):
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise Unfit(
            f"Another `ewallet up` (process {holder or 'unknown'}) runs on the data folder "
            f"{folder.root}: stop it first, or give this one its own folder with --data-dir or "
            "EWALLET_DATA_DIR"
        )
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
    return descriptor


def try_lock(descriptor: int) -> bool:
    """Take the advisory lock on an open file without waiting; say whether that worked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_restored(folder: DataFolder) -> None:
    """Raise Unfit while a restore has begun and not ended: the journals are not whole."""
    if folder.restoring.exists():
        raise Unfit(
            f"A backup was being restored into {folder.root}, and that did not end: run `ewallet"
            " restore` on it again, or remove the folder"
        )


def settle_partitions(folder: DataFolder, wanted: int | None) -> int:
    """Return the folder's number of partitions; a new folder gets `wanted`, or one.

    An account's partition follows from their number, so it never changes in a folder that has
    journals. Raises Unfit when `wanted` differs, and when the record is missing
    beside a store, or unreadable.
    """
    if not folder.identity.exists():
        if folder.store.exists():
            raise Unfit(
                f"{folder.store} holds journals but {folder.identity} is missing, so the number "
                "of partitions is unknown: restore that file from a backup of the folder"
            )
        write_private(folder.identity, _identity_text(wanted or 1))
    stored = _read_partitions(folder.identity)
    if wanted is not None and wanted != stored:
        raise Unfit(
            f"The data folder {folder.root} was made with {stored} partition(s), which is fixed "
            f"for its life, but {wanted} are asked for: leave EWALLET_PARTITIONS unset, or use "
            "another data folder"
        )
    return stored


def write_private(path: Path, text: str) -> None:
    """Replace the file at `path` in one step with `text`, readable by its owner alone."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def rotate_log(path: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Move a log file that outgrew `bytes_max` to `<name>.1`, in place of the one before it."""
    if path.exists() and path.stat().st_size > bytes_max:
        path.replace(path.with_name(path.name + ".1"))


def _identity_text(partitions: int) -> str:
    return json.dumps({"format": FORMAT, "partitions": partitions}) + "\n"


def _read_partitions(path: Path) -> int:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        made_with, partitions = stored["format"], stored["partitions"]
    except (ValueError, KeyError, TypeError) as fault:
        raise Unfit(f"{path} is damaged: restore it from a backup of the folder") from fault
    if made_with != FORMAT or type(partitions) is not int or partitions < 1:
        raise Unfit(
            f"{path} has format {made_with!r} with {partitions!r} partition(s), and this ewallet "
            f"reads format {FORMAT}: use the version that made the folder"
        )
    return partitions
