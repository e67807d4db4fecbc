"""`ewallet up`: the whole wallet on this machine, as supervised processes, until Ctrl-C.

Here the parts are put together. The order of the checks matters: nothing is written before the
settings make sense, and nothing is started before the folder is known to be ours and sound.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import click
import uvloop

from ewallet.child import Child, Program
from ewallet.data_folder import (
    DataFolder,
    check_restored,
    lock_folder,
    open_data_folder,
    settle_partitions,
)
from ewallet.listening import check_host, http_url, take_http_port
from ewallet.nats_binary import check_version, find_nats_server
from ewallet.nats_configuration import NatsSettings
from ewallet.nats_server import lock_store, nats_program, new_nats_settings
from ewallet.permissions import Role
from ewallet.supervisor import Crew, supervise
from runtime.process import Unfit

_LOG = logging.getLogger("ewallet")


@dataclass(frozen=True, kw_only=True)
class UpSettings:
    """What `ewallet up` is told; `partitions` None means: as the data folder says."""

    data_dir: Path
    http_host: str
    http_port: int
    partitions: int | None
    writers: int
    proxies: int
    coordination: str
    coordinator_apart: bool
    insecure: bool
    nats_server: str | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is settled before the first child starts."""

    folder: DataFolder
    partitions: int
    http_host: str
    http_port: int
    writers: int
    proxies: int
    coordination: str
    coordinator_apart: bool
    insecure: bool
    nats_binary: Path
    nats_version: str
    nats: NatsSettings
    store_lock: int


def run_up(settings: UpSettings) -> int:
    """Run the wallet until it is asked to stop; return the exit code.

    0 after a clean stop, 1 when a child had to be killed, EX_CONFIG (78) when the wallet must
    not run; the reason is on stderr.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    try:
        return 0 if uvloop.run(_run(settings)) else 1
    except Unfit as refusal:
        click.echo(f"ewallet: {refusal}", err=True)
        return os.EX_CONFIG


async def _run(settings: UpSettings) -> bool:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    plan = await _settle(settings)
    crew = _crew(plan)
    return await supervise(crew, stop, lambda: _announce(plan, crew))


async def _settle(settings: UpSettings) -> Plan:
    """Make every check that can be made before a start. Raises Unfit."""
    warning = check_host(settings.http_host, insecure=settings.insecure)
    if warning:
        _LOG.warning(warning)
    binary = find_nats_server(settings.nats_server)
    version = await check_version(binary)
    folder = open_data_folder(settings.data_dir)
    lock_folder(folder)  # held until this process ends
    check_restored(folder)
    # Before the number of partitions is settled, for the folder's life: a refusal must not do that.
    http_port = take_http_port(settings.http_host, settings.http_port)
    return Plan(
        folder=folder,
        partitions=settle_partitions(folder, settings.partitions),
        http_host=settings.http_host,
        http_port=http_port,
        writers=settings.writers,
        proxies=settings.proxies,
        coordination=settings.coordination,
        coordinator_apart=settings.coordinator_apart,
        insecure=settings.insecure,
        nats_binary=binary,
        nats_version=version,
        nats=new_nats_settings(folder),
        store_lock=await lock_store(folder),
    )


def _crew(plan: Plan) -> Crew:
    server = Child(
        nats_program(plan.nats_binary, plan.folder, plan.nats, plan.partitions, plan.store_lock)
    )
    names = ["writer", *(f"writer-{number}" for number in range(2, plan.writers + 1))]
    writes = "partitions" if plan.coordinator_apart else "all"
    writers = [Child(_writer(plan, name, writes)) for name in names]
    if plan.coordinator_apart:
        writers.append(Child(_writer(plan, "coordinator", "coordinator")))
    reader = Child(_service(plan, Role.READER, "reader"))
    proxies = [
        Child(_service(plan, Role.PROXY, f"proxy-{number}"))
        for number in range(1, plan.proxies + 1)
    ]
    return Crew(
        start_order=[[server], [*writers, reader, *proxies]],
        # Whoever feeds the others stops first, so that what is under way comes to its end.
        stop_order=[proxies, writers, [reader], [server]],
    )


def _writer(plan: Plan, name: str, writes: str) -> Program:
    program = _service(plan, Role.WRITER, name)
    own = {"EWALLET_WRITES": writes, "EWALLET_WRITER_NAME": name}
    return replace(program, environment={**program.environment, **own})


def _service(plan: Plan, role: Role, name: str) -> Program:
    return Program(
        name=name,
        # -P: a file of that name in the present folder is not our service.
        arguments=(sys.executable, "-P", "-m", role.value),
        environment=service_environment(plan, role, os.environ),
        log=plan.folder.log(name),
        prepare=_nothing,
        await_ready=await_ready_line,
    )


def service_environment(plan: Plan, role: Role, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return a service's environment: the inherited one, with what this wallet settled."""
    settled = {
        "EWALLET_NATS_URL": plan.nats.url(role),
        "EWALLET_NATS_MONITOR_URL": plan.nats.monitor_url,
        "EWALLET_PARTITIONS": str(plan.partitions),
        "EWALLET_DATA_DIR": str(plan.folder.root),
        "EWALLET_HTTP_HOST": plan.http_host,
        "EWALLET_HTTP_PORT": str(plan.http_port),
        "EWALLET_COORDINATION": plan.coordination,
        **({"EWALLET_INSECURE": "1"} if plan.insecure else {}),
    }
    # The read store's setting holds a password, which is the reader's alone.
    dropped = {"EWALLET_INSECURE"} | ({"EWALLET_READ_STORE"} if role is not Role.READER else set())
    kept = {name: value for name, value in inherited.items() if name not in dropped}
    return kept | settled


async def await_ready_line(process: asyncio.subprocess.Process) -> bool:
    """Return True once a service printed the line `ready`, False when its stdout ends first."""
    assert process.stdout is not None  # noqa: S101 - start_tethered makes it a pipe
    while line := await process.stdout.readline():
        if line.strip() == b"ready":
            return True
    return False


async def _nothing() -> None:
    """Prepare nothing: a service finds everything in its environment and in the journal."""


def _announce(plan: Plan, crew: Crew) -> None:
    """Print what is where, and at last the line that says: open for business."""
    url = http_url(plan.http_host, plan.http_port)
    rows = [
        ("API", f"{url}  (documentation at {url}/docs)"),
        ("console", f"{url}/console"),
        ("data folder", str(plan.folder.root)),
        ("partitions", str(plan.partitions)),
        ("NATS", f"127.0.0.1:{plan.nats.port}, monitoring {plan.nats.monitor_url}"),
        ("NATS server", f"{plan.nats_binary} {plan.nats_version}"),
        *((child.program.name, _whereabouts(child)) for child in crew.tasks),
    ]
    for title, text in rows:
        click.echo(f"{title:<12} {text}")
    click.echo(f"ready: {url}  (docs at /docs)")


def _whereabouts(child: Child) -> str:
    return f"process {child.process_id or '-'}, log {child.program.log}"
