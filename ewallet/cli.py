"""The command `ewallet`.

Each subcommand's module is imported when it is called, so that `ewallet up` does not wait for
the HTTP client and `ewallet balance` not for the supervisor.
"""

from importlib import import_module
from typing import Final

import click

COMMANDS: Final = {
    "up": "ewallet.command_up",
    "proxy": "ewallet.command_roles",
    "writer": "ewallet.command_roles",
    "reader": "ewallet.command_roles",
    "sentinel": "ewallet.command_roles",
    "accounts": "ewallet.command_accounts",
    "transfer": "ewallet.command_transfer",
    "transfers": "ewallet.command_transfers",
    "balance": "ewallet.command_queries",
    "entries": "ewallet.command_queries",
    "status": "ewallet.command_status",
    "partitions": "ewallet.command_partitions",
    "backup": "ewallet.command_backup",
    "restore": "ewallet.command_backup",
    "cluster-config": "ewallet.command_cluster_config",
}
"""Each subcommand and the module that has it under the same name (there with `_` for `-`)."""


class LazyGroup(click.Group):
    """A group whose subcommands come from COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the subcommand, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ewallet")
def main() -> None:
    """Run an e-wallet on this machine, and move money in one.

    Every option is also a setting: --http-port is EWALLET_HTTP_PORT.
    """
