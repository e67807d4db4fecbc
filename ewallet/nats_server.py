"""The embedded nats-server as a supervised program: checked before a start, probed after it."""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from broker.journal_check import check_journals
from broker.journal_check import render as render_findings
from broker.snapshot_files import damaged_snapshots
from contracts.chain import MadeByAnotherVersion
from contracts.parties import parties
from ewallet.child import Program
from ewallet.data_folder import PRIVATE_FILE, DataFolder, try_lock, write_private
from ewallet.listening import free_loopback_ports
from ewallet.nats_configuration import HOST, NatsSettings, render
from ewallet.permissions import Role, permissions_of_roles
from runtime.process import Unfit

PROBE_DELAY_S_FIRST: Final = 0.01
PROBE_DELAY_S_MAX: Final = 0.2
PREDECESSOR_GRACE_S: Final = 5.0
"""How long a nats-server whose supervisor was killed may take to be gone."""

_LOG = logging.getLogger("ewallet")


def new_nats_settings(folder: DataFolder) -> NatsSettings:
    """Return settings with fresh passwords and free ports; they hold until this wallet stops."""
    port, monitor_port = free_loopback_ports(2)
    return NatsSettings(
        server_name=f"ewallet-{secrets.token_hex(8)}",
        port=port,
        monitor_port=monitor_port,
        store=folder.store,
        passwords={role: secrets.token_hex(24) for role in Role},
    )


def nats_program(
    binary: Path, folder: DataFolder, settings: NatsSettings, partitions: int, store_lock: int
) -> Program:
    """Write the configuration and return the program; `store_lock` is handed to the server."""
    write_private(folder.nats_configuration, render(settings, permissions_of_roles(partitions)))

    async def prepare() -> None:
        await _in_daemon_thread(lambda: check_store(folder, partitions))

    async def await_ready(_: asyncio.subprocess.Process) -> bool:
        await await_server(settings.port, settings.server_name)
        return True

    return Program(
        name="nats-server",
        arguments=(str(binary), "--config", str(folder.nats_configuration)),
        # The read store's setting holds a password, which is the reader's alone.
        environment={name: os.environ[name] for name in os.environ if name != "EWALLET_READ_STORE"},
        log=folder.log("nats-server"),
        prepare=prepare,
        await_ready=await_ready,
        essential=True,
        pass_fds=(store_lock,),
    )


async def lock_store(folder: DataFolder) -> int:
    """Return the descriptor of the store's lock, held by this process and heirs of it.

    nats-server inherits it: should this process be killed where nothing ties children to it, the
    next wallet can tell that the old server still writes. Raises Unfit then.
    """
    descriptor = os.open(folder.store_lock, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        async with asyncio.timeout(PREDECESSOR_GRACE_S):
            while not try_lock(descriptor):  # noqa: ASYNC110 - its holder is another process
                await asyncio.sleep(PROBE_DELAY_S_MAX)
    except TimeoutError:
        os.close(descriptor)
        raise Unfit(
            f"A nats-server of an earlier run still uses {folder.store}: stop that process first"
        ) from None
    return descriptor


def check_store(folder: DataFolder, partitions: int) -> None:
    """Look at every stored record of the journals before a server may touch it.

    Warnings are logged. Raises Unfit with the findings when a journal is damaged, and changes
    nothing then: a server that is started on it would cut it off there and forget the rest.
    Snapshots on which a server might never start are put aside: they are made anew.
    """
    try:
        findings = check_journals(folder.store, folder.root, parties(partitions))
    except MadeByAnotherVersion as error:
        raise Unfit(str(error)) from error
    if any(finding.refuses for finding in findings):
        raise Unfit(f"The journals are damaged.\n\n{render_findings(findings)}")
    if findings:
        _LOG.warning("%s", render_findings(findings))
    for stream, seen in damaged_snapshots(folder.store):
        if folder.damaged_snapshots.exists():
            shutil.rmtree(folder.damaged_snapshots)
        stream.rename(folder.damaged_snapshots)
        _LOG.warning(
            "The stored snapshots are damaged (%s). They are put aside as %s, which may be "
            "deleted; the writer replays the journals and makes new ones.",
            seen,
            folder.damaged_snapshots,
        )


async def _in_daemon_thread(work: Callable[[], None]) -> None:
    """Run work that may end anywhere, and raise what it raises.

    A cancelled one is left behind and ends with this process: reading many gigabytes must not
    hold up a Ctrl-C.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(fault: BaseException | None) -> None:
        if done.cancelled():
            return
        if fault is None:
            done.set_result(None)
        else:
            done.set_exception(fault)

    def run() -> None:
        fault: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001 - raised again on the loop's side
            fault = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, fault)

    threading.Thread(target=run, name="journal-check", daemon=True).start()
    await done


async def await_server(port: int, server_name: str) -> None:
    """Return when the server of that name accepts clients; they come after its recovery."""
    delay_s = PROBE_DELAY_S_FIRST
    while await _name_behind(port) != server_name:
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 1.5, PROBE_DELAY_S_MAX)


async def _name_behind(port: int) -> str | None:
    """Return the name of the nats-server that listens on a loopback port, None if none does."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return None
    try:
        # A NATS server speaks first: INFO {"server_name": …}
        async with asyncio.timeout(1.0):
            greeting = await reader.readline()
        return str(json.loads(greeting.removeprefix(b"INFO "))["server_name"])
    except (OSError, ValueError, KeyError, TypeError, TimeoutError):
        return None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
