"""`ewallet cluster-config`: the files with which the parts of a cluster know each other.

<directory>/nats/nats-server.conf    for every server, with the passwords and what each user may do
<directory>/nats/route-password      with which servers know each other
<directory>/<role>/nats-password     for writer, reader, proxy, sentinel: EWALLET_NATS_PASSWORD_FILE
<directory>/postgres/password        of the readers' user of PostgreSQL
<directory>/reader/pgpass            the same for libpq: PGPASSFILE

Passwords that are there are kept, so it can be run before every start; the configuration follows
the version that is run. Each subfolder goes to one kind of process, and nothing else does.
"""

import secrets
from pathlib import Path

import click

from contracts.limits import COMMAND_QUEUE_BYTES_MAX, PARTITION_COUNT_MAX
from contracts.parties import parties
from ewallet.data_folder import PRIVATE_FOLDER, write_private
from ewallet.nats_configuration import ClusterSettings, render_cluster
from ewallet.options import setting
from ewallet.permissions import SENTINEL, Role, permissions_of_roles

_PASSWORD_BYTES = 24


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--servers", required=True, help="Host names of the servers, separated by commas.")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=Path("/data"),
    show_default=True,
    help="Where each server keeps its streams.",
)
@setting(
    "--partitions",
    type=click.IntRange(1, PARTITION_COUNT_MAX),
    default=1,
    help="Partitions of this wallet.",
)
def cluster_config(directory: Path, servers: str, store: Path, partitions: int) -> None:
    """Write the configuration of the NATS servers, and all passwords, into DIRECTORY."""
    names = [name.strip() for name in servers.split(",") if name.strip()]
    if not names:
        raise click.UsageError("--servers names no server: --servers nats-1,nats-2,nats-3")
    try:
        write_files(directory, names, store, partitions)
    except OSError as fault:
        raise click.ClickException(
            f"{directory} can't be written as it is: {fault}. Its subfolders must belong to the "
            "user who runs this, and to nobody else."
        ) from fault


def write_files(directory: Path, servers: list[str], store: Path, partitions: int) -> None:
    """Write all files, readable by their owner alone. Raises OSError."""
    settings = ClusterSettings(
        servers=servers,
        store=store,
        memory_bytes=len(parties(partitions)) * COMMAND_QUEUE_BYTES_MAX,
        passwords={role: _password(directory / role.value / "nats-password") for role in Role},
        sentinel_password=_password(directory / SENTINEL / "nats-password"),
        route_password=_password(directory / "nats" / "route-password"),
    )
    text = render_cluster(settings, permissions_of_roles(partitions))
    write_private(directory / "nats" / "nats-server.conf", text)
    database_password = _password(directory / "postgres" / "password")
    write_private(directory / "reader" / "pgpass", f"*:*:*:*:{database_password}\n")


def _password(path: Path) -> str:
    """Return the password in a file, made when there is none."""
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    if not path.exists():
        write_private(path, secrets.token_hex(_PASSWORD_BYTES))
    return path.read_text(encoding="utf-8")
