"""How fast a journal is replayed, and what remembering transfers costs (`python -m bench.replay`).

Builds a journal of one million transfers between 10,000 accounts in memory, in frames of 32
commands, then replays it into a fresh machine as a writer does when it starts. The median of three.
"""

import gc
from random import Random
from statistics import median
from time import perf_counter

from bench.settings import take_no_arguments
from contracts.chain import Chained
from contracts.commands import Command, OpenAccount, Transfer
from contracts.frames import CommandFrame
from contracts.partitioning import SlotMap
from writer.core.idempotency import FINGERPRINT_KEY_BYTES, DecidedTransfers, Fingerprints
from writer.core.machine import Decision, Machine, QueuedFrame
from writer.core.partition import Partition

TRANSFERS = 1_000_000
ACCOUNTS = 10_000
FRAME_COMMANDS = 32
ROUNDS = 3
KEY = b"k" * FINGERPRINT_KEY_BYTES


def main() -> None:
    """Print the replay rate and the costs of the idempotency index."""
    take_no_arguments(__doc__)
    frames, decide_s = build_journal()
    replay_s = []
    for _ in range(ROUNDS):
        machine, seconds = replay(frames)
        replay_s.append(seconds)
    index_s = median(remember_all() for _ in range(ROUNDS))
    remembered = machine.rules.outcomes.table
    print(f"journal      {sum(map(len, frames)) / TRANSFERS:.0f} bytes per transfer")
    print(f"decide       {TRANSFERS / decide_s:,.0f} transfers/s")
    print(f"replay       {TRANSFERS / median(replay_s):,.0f} events/s")
    print(f"idempotency  {remembered.memory_bytes() / len(remembered):.1f} bytes per id")
    print(f"             {index_s / TRANSFERS * 1e6:.2f} µs to look an id up and remember another")


def build_journal() -> tuple[list[bytes], float]:
    """The frames of a journal, and the seconds that deciding the transfers took."""
    chance, machine = Random(1), new_machine()  # noqa: S311  # chooses accounts
    frames = [frame_of(machine.open_epoch("bench", KEY))]
    openings: list[Command] = [OpenAccount(f"user-{n}", "USD", 10**12) for n in range(ACCOUNTS)]
    frames += decided(machine, openings)
    transfers: list[Command] = [
        Transfer(
            f"user-{(payer := chance.randrange(ACCOUNTS))}",
            f"user-{(payer + chance.randrange(1, ACCOUNTS)) % ACCOUNTS}",
            chance.randint(1, 5_000),
            "USD",
            f"transfer-{number}",
        )
        for number in range(TRANSFERS)
    ]
    gc.freeze()
    started = perf_counter()
    frames += decided(machine, transfers)
    return frames, perf_counter() - started


def decided(machine: Machine[Partition], commands: list[Command]) -> list[bytes]:
    """Event frames of the commands, in frames of FRAME_COMMANDS."""
    groups = [
        [QueuedFrame(at, at, CommandFrame("proxy", at + 1, commands[at : at + FRAME_COMMANDS]))]
        for at in range(0, len(commands), FRAME_COMMANDS)
    ]
    return [frame_of(machine.decide(group)) for group in groups]


def new_machine() -> Machine[Partition]:
    """The only partition of a wallet."""
    return Machine(0, Partition(0, SlotMap.even(1)))


def frame_of(decision: Decision) -> bytes:
    """Its event frame; commands always cause one."""
    if decision.data is None:
        raise SystemExit("a group of commands caused no event")
    return decision.data


def replay(frames: list[bytes]) -> tuple[Machine[Partition], float]:
    """A machine that replayed all frames, and the seconds it took."""
    machine = new_machine()
    started = perf_counter()
    for data in frames:
        link = machine.replay(data)
        if not isinstance(link, Chained):
            raise SystemExit(link.why)
    return machine, perf_counter() - started


def remember_all() -> float:
    """Seconds for TRANSFERS look-ups and insertions."""
    index, fingerprints = DecidedTransfers(), Fingerprints(KEY)
    started = perf_counter()
    for number in range(TRANSFERS):
        name = fingerprints.name("user-1", str(number))
        if index.find(name) is None:
            index.remember(name, number, fingerprints.content("user-2", 1_000, "USD"), None)
    return perf_counter() - started


if __name__ == "__main__":
    main()
