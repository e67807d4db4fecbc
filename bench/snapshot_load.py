"""Commands for the partition that `bench.snapshots` writes, from a process of their own.

`python -m bench.snapshot_load <NATS URL> <accounts> <first number> <seconds>` publishes frames of
FRAME_COMMANDS transfers to the queue, RATE transfers per second, whatever becomes of them.
"""

import asyncio
import sys
from collections.abc import Sequence
from random import Random

from broker.nats_broker import NatsBroker
from contracts.commands import Command, Transfer
from contracts.frames import COMMAND_FRAME, CommandFrame
from contracts.subjects import command_subject

RATE = 2_000
FRAME_COMMANDS = 32


def transfers(accounts: int, first: int, count: int) -> list[Command]:
    """Transfers with the numbers first, first + 1, … between accounts that the numbers choose."""
    chance = Random(first)  # noqa: S311  # chooses accounts
    return [
        Transfer(
            f"user-{(payer := chance.randrange(accounts))}",
            f"user-{(payer + chance.randrange(1, accounts)) % accounts}",
            chance.randint(1, 5_000),
            "USD",
            f"transfer-{number}",
        )
        for number in range(first, first + count)
    ]


async def load(url: str, accounts: int, first: int, seconds: int) -> None:
    """Send at a steady rate until the time is over."""
    broker = await NatsBroker.connect(url, name="load", role="load")
    loop, number = asyncio.get_running_loop(), first
    began_s = loop.time()
    while loop.time() < began_s + seconds:
        frame = CommandFrame("load", number, transfers(accounts, number, FRAME_COMMANDS))
        await broker.publish(command_subject(0), COMMAND_FRAME.encode(frame))
        number += FRAME_COMMANDS
        due_s = began_s + (number - first) / RATE
        await asyncio.sleep(max(0.0, due_s - loop.time()))
    await broker.close()


def main(arguments: Sequence[str]) -> None:
    """Run what the arguments say."""
    url, *numbers = arguments
    asyncio.run(load(url, *map(int, numbers)))


if __name__ == "__main__":
    main(sys.argv[1:])
