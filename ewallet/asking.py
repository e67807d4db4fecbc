"""How subcommands ask a wallet: their common options, and how a fault ends them."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import click

from ewallet.client import WalletClient
from ewallet.client_faults import ClientFault, UnknownOutcomeError
from ewallet.options import Command, setting

Outcome = TypeVar("Outcome")

EXIT_UNKNOWN_OUTCOME: Final = os.EX_TEMPFAIL
"""75: the change may have happened or not; the same command, run again, tells."""


class UnknownOutcome(click.ClickException):
    """Ends a command whose change may have happened or not."""

    exit_code = EXIT_UNKNOWN_OUTCOME


def client_options(command: Command) -> Command:
    """Add --url, --timeout and --json."""
    for add in (
        click.option("--json", "as_json", is_flag=True, help="Print the API's JSON document."),
        setting(
            "--timeout",
            type=click.FloatRange(min=0.1),
            default=30.0,
            help="Seconds until the command gives up.",
        ),
        setting("--url", default="http://127.0.0.1:8080", help="Where the wallet listens."),
    ):
        command = add(command)
    return command


def ask(
    url: str,
    timeout_s: float,
    question: Callable[[WalletClient], Awaitable[Outcome]],
    *,
    connections: int = 8,
) -> Outcome:
    """Ask a wallet and return its answer; a fault ends the command with a sentence.

    Exit code 1, or EXIT_UNKNOWN_OUTCOME when a change may have happened.
    """

    async def session() -> Outcome:
        async with WalletClient(url, timeout_s=timeout_s, connections=connections) as client:
            return await question(client)

    try:
        return asyncio.run(session())
    except ClientFault as fault:
        kind = UnknownOutcome if isinstance(fault, UnknownOutcomeError) else click.ClickException
        raise kind(str(fault)) from fault


def print_json(body: bytes) -> None:
    """Print a document as the API sent it."""
    click.echo(body.decode("utf-8"))
