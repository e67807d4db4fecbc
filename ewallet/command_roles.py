"""`ewallet proxy`, `writer`, `reader`, `sentinel`: one service in this process.

The service reads its settings from the environment; the options here only fill it in. Without
--nats-url the service joins the embedded wallet that runs on the data folder. A sentinel needs
--nats-url: where there is one server, it has nothing to do.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from ewallet.data_folder import DataFolder, settle_partitions
from ewallet.nats_configuration import read_urls
from ewallet.options import COORDINATION, Command, setting
from ewallet.permissions import SENTINEL, Role
from runtime.process import Unfit
from runtime.settings import REPLICAS_MAX

_NATS_OPTIONS: Final = (
    setting("--nats-monitor-url", help="Monitoring addresses of all NATS servers."),
    setting("--nats-password-file", help="Holds the password that --nats-url leaves out."),
    setting("--nats-url", help="nats://user:password@host:port,… of one or more servers."),
)


def _service_options(command: Command) -> Command:
    for add in (
        setting(
            "--data-dir",
            type=click.Path(path_type=Path),
            default=Path(".ewallet"),
            help="Where the read store and the witnesses live.",
        ),
        setting("--partitions", type=click.IntRange(min=1), help="Partitions of this wallet."),
        *_NATS_OPTIONS,
    ):
        command = add(command)
    return command


def _nats_options(command: Command) -> Command:
    for add in _NATS_OPTIONS:
        command = add(command)
    return command


@click.command()
@_service_options
@setting("--http-host", default="127.0.0.1", help="Address to listen on.")
@setting("--http-port", type=click.IntRange(1, 65_535), default=8080, help="Port to listen on.")
@setting("--http-hosts", help="Names by which it may be called besides localhost: a.example,…")
@setting("--http-origins", help="Of pages on other hosts that may watch accounts: https://a,…")
@setting("--coordination", type=COORDINATION, help="Of transfers that come without a choice.")
@setting("--insecure", is_flag=True, help="Allow an address that other machines reach.")
def proxy(**options: Any) -> None:
    """Run one proxy against an existing NATS."""
    _become(Role.PROXY, options)


@click.command()
@_service_options
@setting(
    "--writes",
    type=click.Choice(["all", "partitions", "coordinator"]),
    default="all",
    help="Which journals it writes; each journal has one writer.",
)
@setting("--writer-name", help="Tells it from other writers with the same data folder.")
@setting("--snapshot-events", type=int, help="Events after which a snapshot is written.")
@setting("--snapshot-frames", type=int, help="Event frames after which one is.")
@setting("--snapshot-s", type=int, help="Seconds after which one is, if there is anything new.")
@setting(
    "--replicas",
    type=click.IntRange(1, REPLICAS_MAX),
    default=1,
    help="Servers of the NATS cluster that hold a copy of each journal.",
)
def writer(**options: Any) -> None:
    """Run one writer against an existing NATS."""
    _become(Role.WRITER, options)


@click.command()
@_service_options
@click.argument("action", type=click.Choice(["rebuild"]), required=False)
def reader(action: str | None, **options: Any) -> None:
    """Run one reader against an existing NATS; with `rebuild`, make its read store anew."""
    _become(Role.READER, options, *([action] if action else []))


@click.command()
@_nats_options
def sentinel(**options: Any) -> None:
    """Run one sentinel for a NATS cluster: when a server dies, others lead its streams sooner."""
    if not options["nats_url"]:
        raise click.UsageError("A sentinel needs the addresses of all servers: --nats-url")
    _run(SENTINEL, as_environment(options))


def _become(role: Role, options: Mapping[str, Any], *arguments: str) -> NoReturn:
    """Replace this process by the service of a role."""
    _run(role.value, role_environment(role, options), *arguments)


def _run(module: str, settings: Mapping[str, str], *arguments: str) -> NoReturn:
    """Replace this process by a module's."""
    environment = {**os.environ, **settings}
    command = [sys.executable, "-P", "-m", module, *arguments]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is wanted


def role_environment(role: Role, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the EWALLET_* variables that the options stand for.

    Raises click.UsageError when neither --nats-url nor
    an embedded wallet's data folder says where NATS is.
    """
    filled = dict(options)
    if not filled.get("nats_url"):
        filled |= _embedded(role, filled["data_dir"], filled["partitions"])
    return as_environment(filled)


def as_environment(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the EWALLET_* variables; a false or missing option sets nothing."""
    return {
        f"EWALLET_{name.upper()}": "1" if value is True else str(value)
        for name, value in options.items()
        if value not in (None, False)
    }


def _embedded(role: Role, data_dir: Path, partitions: int | None) -> dict[str, Any]:
    """Return what the embedded wallet of a data folder settled for its services."""
    folder = DataFolder(data_dir.expanduser().absolute())
    try:
        text = folder.nats_configuration.read_text(encoding="utf-8")
        nats_url, monitor_url = read_urls(text, role)
        settled = settle_partitions(folder, partitions)
    except (OSError, ValueError, KeyError) as fault:
        raise click.UsageError(
            f"No --nats-url is given and no embedded wallet runs on {data_dir}: name a NATS "
            "server with --nats-url, or start a wallet with `ewallet up`"
        ) from fault
    except Unfit as refusal:
        raise click.UsageError(str(refusal)) from refusal
    return {"nats_url": nats_url, "nats_monitor_url": monitor_url, "partitions": settled}
