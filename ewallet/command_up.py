"""`ewallet up`: its options."""

import sys
from pathlib import Path

import click

from contracts.limits import PARTITION_COUNT_MAX
from ewallet.options import COORDINATION, setting
from ewallet.up import UpSettings, run_up

PROXIES_MAX = 64
WRITERS_MAX = 16


@click.command()
@setting(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".ewallet"),
    help="Where the journals, the read store and the logs live.",
)
@setting("--http-host", default="127.0.0.1", help="Address that the proxies listen on.")
@setting(
    "--http-port",
    type=click.IntRange(0, 65_535),
    default=8080,
    help="Port that the proxies share; 0 takes a free one.",
)
@setting(
    "--partitions",
    type=click.IntRange(1, PARTITION_COUNT_MAX),
    help="Partitions of a new data folder (1 if unset); fixed for its life.",
)
@setting(
    "--writers",
    type=click.IntRange(1, WRITERS_MAX),
    default=1,
    help="Number of writer processes; with two or more, one takes over when another dies.",
)
@setting(
    "--proxies", type=click.IntRange(1, PROXIES_MAX), default=2, help="Number of proxy processes."
)
@setting(
    "--coordination",
    type=COORDINATION,
    default="choreography",
    help="How transfers between partitions are made all-or-nothing, unless they say it.",
)
@setting(
    "--coordinator-apart",
    is_flag=True,
    help="Run the coordinator of transfers between partitions in a process of its own.",
)
@setting(
    "--insecure",
    is_flag=True,
    help="Allow an address that other machines reach, although nobody is authenticated.",
)
@setting("--nats-server", help="The nats-server to run, instead of one on the PATH.")
def up(
    *,
    data_dir: Path,
    http_host: str,
    http_port: int,
    partitions: int | None,
    writers: int,
    proxies: int,
    coordination: str,
    coordinator_apart: bool,
    insecure: bool,
    nats_server: str | None,
) -> None:
    """Run the whole wallet on this machine until Ctrl-C."""
    sys.exit(
        run_up(
            UpSettings(
                data_dir=data_dir,
                http_host=http_host,
                http_port=http_port,
                partitions=partitions,
                writers=writers,
                proxies=proxies,
                coordination=coordination,
                coordinator_apart=coordinator_apart,
                insecure=insecure,
                nats_server=nats_server,
            )
        )
    )
