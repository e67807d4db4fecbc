"""`ewallet backup` and `ewallet restore`."""

import logging
import os
import sys
import time
from collections.abc import Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import click
import uvloop

from broker.nats_broker import NatsBroker
from broker.nats_sync import check_sync_always
from broker.port import BrokerFault, BrokerUnfit
from contracts.chain import MadeByAnotherVersion
from ewallet.backup.checking import Place, check
from ewallet.backup.embedded import restore_folder
from ewallet.backup.file import Backup, BackupWriter, End, Header, NotABackup
from ewallet.backup.files import place_of, written_whole
from ewallet.backup.restoring import APPEND_TIMEOUT_S, restore_into
from ewallet.backup.taking import take_backup
from ewallet.command_roles import role_environment
from ewallet.options import setting
from ewallet.permissions import Role
from runtime.process import Unfit
from runtime.settings import REPLICAS_MAX, read_nats_url

_ROLE: Final = Role.WRITER
"""Whose rights are used: nobody else may read the coordinator's journal, or write one."""
_MIB: Final = 1_024 * 1_024

_data_dir = setting(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".ewallet"),
    help="The data folder of an embedded wallet.",
)
_nats_url = setting("--nats-url", help="nats://writer@host:port,… of servers of your own.")
_password_file = setting("--nats-password-file", help="Holds the password of --nats-url.")


@click.command()
@click.argument("target", type=click.Path(path_type=Path, allow_dash=True))
@_data_dir
@_nats_url
@_password_file
def backup(
    target: Path, *, data_dir: Path, nats_url: str | None, nats_password_file: str | None
) -> None:
    """Write a backup of a wallet that runs to TARGET: a new file, a folder, or - for stdout."""
    options = {
        "data_dir": data_dir,
        "nats_url": nats_url,
        "nats_password_file": nats_password_file,
        "partitions": None,
    }
    _run(_back_up(target, role_environment(_ROLE, options)))


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--check", "only_check", is_flag=True, help="Only check FILE; restore nothing.")
@_data_dir
@_nats_url
@_password_file
@setting("--nats-monitor-url", help="Monitoring addresses of all servers of --nats-url.")
@setting(
    "--replicas",
    type=click.IntRange(1, REPLICAS_MAX),
    default=1,
    help="Servers of --nats-url that hold a copy of each journal.",
)
@setting("--nats-server", help="The nats-server to run, instead of one on the PATH.")
def restore(
    file: Path,
    *,
    only_check: bool,
    data_dir: Path,
    nats_url: str | None,
    nats_password_file: str | None,
    nats_monitor_url: str | None,
    replicas: int,
    nats_server: str | None,
) -> None:
    """Restore the backup FILE into a new data folder, or into empty servers (--nats-url)."""
    found, places = _checked(file)
    if only_check:
        click.echo(f"{file} is a whole backup.")
    elif nats_url is None:
        _run(_restore_folder(found, places, data_dir, nats_server))
    else:
        given = {"EWALLET_NATS_URL": nats_url}
        if nats_password_file:
            given["EWALLET_NATS_PASSWORD_FILE"] = nats_password_file
        _run(_restore_servers(found, places, given, nats_monitor_url, replicas))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command's work; what went wrong is said in a sentence."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("broker.nats_broker").setLevel(logging.ERROR)  # it tells of our own end
    try:
        uvloop.run(work)
    except (Unfit, BrokerUnfit, MadeByAnotherVersion) as refusal:
        _refuse(str(refusal))
    except (BrokerFault, OSError) as fault:
        click.echo(f"ewallet: {fault}", err=True)
        sys.exit(1)


def _refuse(why: str) -> NoReturn:
    click.echo(f"ewallet: {why}", err=True)
    sys.exit(os.EX_CONFIG)


# --- backup ---


async def _back_up(target: Path, environment: Mapping[str, str]) -> None:
    started_s = time.monotonic()
    is_stdout = str(target) == "-"
    path = target if is_stdout else place_of(target, datetime.now(UTC))
    broker = await NatsBroker.connect(
        read_nats_url({**os.environ, **environment}), name="backup", role=_ROLE.value
    )
    try:
        slots = await broker.slot_map()
        header = Header(
            begun_at=datetime.now(UTC).isoformat(timespec="seconds"),
            partitions=slots.partition_count,
            slot_map=slots.encode().decode(),
        )
        opened: AbstractContextManager[BinaryIO] = (
            nullcontext(sys.stdout.buffer) if is_stdout else written_whole(path)
        )
        with opened as file:
            sink = BackupWriter(file, header)
            end = await take_backup(broker, slots, sink)
            file.flush()
    finally:
        await broker.close()
    elapsed_s = time.monotonic() - started_s
    _tell_backup("stdout" if is_stdout else str(path), end, sink.byte_count, elapsed_s)


def _tell_backup(where: str, end: End, byte_count: int, elapsed_s: float) -> None:
    """On stderr, because the backup itself may go to stdout."""
    for name, reached in end.journals.items():
        title = f"coordinator {name}" if name.startswith("c") else f"partition {name}"
        click.echo(f"{title:<15} up to sequence {reached.sequence}", err=True)
    events = sum(reached.sequence for reached in end.journals.values())
    click.echo(
        f"{where}: {events} events, {end.unfinished} transfers under way,"
        f" {byte_count / _MIB:.1f} MiB in {elapsed_s:.1f} s",
        err=True,
    )


# --- restore ---


def _checked(file: Path) -> tuple[Backup, dict[int, Place]]:
    """The backup, when everything in it was seen to be right; otherwise the process ends."""
    started_s = time.monotonic()
    try:
        found = Backup(file)
        places = check(found)
    except NotABackup as why:
        _refuse(f"{file} can't be restored: {why}. Nothing was changed. Take another backup.")
    except MadeByAnotherVersion as error:
        _refuse(f"{file}: {error}")
    events = sum(place.tip.sequence for place in places.values())
    click.echo(
        f"checked: backup of {found.header.begun_at}, {found.header.partitions} partitions,"
        f" {events} events, {time.monotonic() - started_s:.1f} s"
    )
    return found, places


async def _restore_folder(
    found: Backup, places: Mapping[int, Place], data_dir: Path, nats_server: str | None
) -> None:
    started_s = time.monotonic()
    await restore_folder(found, places, data_dir, nats_server)
    click.echo(
        f"restored into {data_dir} in {time.monotonic() - started_s:.1f} s; start it with: ewallet"
        f" up --data-dir {data_dir}"
    )


async def _restore_servers(
    found: Backup,
    places: Mapping[int, Place],
    given: Mapping[str, str],
    monitor_url: str | None,
    replicas: int,
) -> None:
    started_s = time.monotonic()
    url = read_nats_url({**os.environ, **given})
    if monitor_url is not None:
        await check_sync_always(monitor_url, replicas)
    broker = await NatsBroker.connect(
        url,
        name="restore",
        role=_ROLE.value,
        replicas=replicas,
        append_timeout_s=APPEND_TIMEOUT_S,
    )
    try:
        await restore_into(broker, found, places)
    finally:
        await broker.close()
    click.echo(f"restored in {time.monotonic() - started_s:.1f} s; start writers, readers, proxies")
