"""Restoring into the data folder of an embedded wallet: a nats-server for as long as it takes."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path

from broker.nats_broker import NatsBroker
from broker.witness import Witness, witness_path
from ewallet.backup.checking import Place
from ewallet.backup.file import Backup
from ewallet.backup.files import sync_folder
from ewallet.backup.restoring import APPEND_TIMEOUT_S, restore_into
from ewallet.child import Child
from ewallet.data_folder import (
    DataFolder,
    lock_folder,
    open_data_folder,
    settle_partitions,
    write_private,
)
from ewallet.nats_binary import check_version, find_nats_server
from ewallet.nats_server import check_store, lock_store, nats_program, new_nats_settings
from ewallet.permissions import Role
from runtime.process import Unfit

_KEPT = {"lock", "logs", "nats.lock", "nats-server.conf"}
"""What may be in a folder that holds no wallet."""


async def restore_folder(
    backup: Backup, places: Mapping[int, Place], data_dir: Path, nats_server: str | None
) -> None:
    """Make a data folder of a checked backup, for `ewallet up` to run on.

    Raise Unfit if the folder holds a wallet. One that an interrupted restore left begins anew.
    """
    binary = find_nats_server(nats_server)
    await check_version(binary)
    _check_empty(data_dir)
    folder = open_data_folder(data_dir)
    lock_folder(folder)  # held until this process ends
    write_private(folder.restoring, f"{backup.seal.hex()}\n")
    _forget(folder)
    settle_partitions(folder, backup.header.partitions)
    async with _running_server(folder, binary, backup.header.partitions) as broker:
        await restore_into(broker, backup, places)
    await asyncio.to_thread(_finish, folder, backup, places)


def _check_empty(data_dir: Path) -> None:
    """Raise Unfit unless the folder is missing, empty, or that of an interrupted restore."""
    root = data_dir.expanduser().absolute()
    if not root.exists() or DataFolder(root).restoring.exists():
        return
    if not root.is_dir() or {path.name for path in root.iterdir()} - _KEPT:
        raise Unfit(
            f"{root} is not empty: a backup is restored into a new data folder only. Nothing was"
            " changed. Name another one with --data-dir, or move this one away."
        )


def _forget(folder: DataFolder) -> None:
    """Remove what an interrupted restore left."""
    folder.identity.unlink(missing_ok=True)
    for begun in (folder.store, folder.root / "witness"):
        if begun.exists():
            shutil.rmtree(begun)


@asynccontextmanager
async def _running_server(
    folder: DataFolder, binary: Path, partitions: int
) -> AsyncIterator[NatsBroker]:
    """A connection, as the writer, to a server on the folder; both end with the context."""
    settings = new_nats_settings(folder)
    program = nats_program(binary, folder, settings, partitions, await lock_store(folder))
    child = Child(program)
    running = asyncio.create_task(child.run())
    try:
        ready = asyncio.create_task(child.ready.wait())
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if running.done():
            running.result()
        role = Role.WRITER
        broker = await NatsBroker.connect(
            settings.url(role), name="restore", role=role.value, append_timeout_s=APPEND_TIMEOUT_S
        )
        try:
            yield broker
        finally:
            await broker.close()
    finally:
        child.stop()
        await running


def _finish(folder: DataFolder, backup: Backup, places: Mapping[int, Place]) -> None:
    """Witness what the journals hold, check their files against that, and let `up` in."""
    for party, place in places.items():
        path = witness_path(folder.root, party, Role.WRITER.value)
        path.parent.mkdir(exist_ok=True)
        with closing(Witness(path)) as witness:
            if place.frames:
                witness.record(place.tip.sequence, place.tip.hash, place.frames)
    check_store(folder, backup.header.partitions)
    folder.nats_configuration.unlink()
    folder.restoring.unlink()
    sync_folder(folder.root)
