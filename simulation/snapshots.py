"""Snapshots in a run: how they are damaged, and what those that are whole must hold."""

from collections.abc import Callable
from random import Random
from typing import Any

from broker.memory_exchange import Exchange
from broker.memory_snapshots import MemorySnapshots
from broker.port import SnapshotDamaged
from contracts.subjects import journal_stream
from simulation.books import check
from simulation.states import state_of
from writer.core.machine import Machine
from writer.core.snapshot import Damaged, Thawing


def damage(
    stored: MemorySnapshots, chance: Random, note: Callable[[str, int, int], None]
) -> int | None:
    """Let a part of a snapshot get lost, or all of it, or let a bit be another one.

    Tells note how, of which party and sequence. Gives the party; None if nothing is whole.
    """
    whole = [name for name, (number, _) in stored.named.items() if stored.blocks.get(number)]
    if not whole:
        return None
    party, sequence = chance.choice(whole)
    if chance.random() < 0.7:
        sequence = max(at for of, at in whole if of == party)
    how = chance.choice(("lost", "cut", "flipped"))
    note(how, party, sequence)
    stored.damage(party, sequence, lambda blocks: _damaged(blocks, how, chance))
    return party


def _damaged(blocks: list[bytes], how: str, chance: Random) -> list[bytes]:
    if how == "lost":
        return []
    if how == "cut":
        return blocks[: chance.randrange(len(blocks))]
    changed = [bytearray(block) for block in blocks]
    block = chance.choice([block for block in changed if block])
    block[chance.randrange(len(block))] ^= 1 << chance.randrange(8)
    return list(map(bytes, changed))


def check_snapshots(server: Exchange, party: int, rules: Callable[[], Any]) -> None:
    """Each whole snapshot of a party is what a replay up to its place gives."""
    for sequence in server.snapshots.sequences(party):
        restored: Machine[Any] = Machine(party, rules())
        thawing = Thawing(restored, party)
        try:
            for block in server.snapshots.get(party, sequence):
                thawing.add(block)
            head = thawing.end()
        except (SnapshotDamaged, Damaged):
            continue  # a fault did that
        replayed: Machine[Any] = Machine(party, rules())
        for message in server.streams[journal_stream(party)].messages[: head.stream_sequence]:
            replayed.replay(message.data)
        check(
            state_of(restored) == state_of(replayed),
            f"party {party}: the snapshot at {sequence} is not what a replay gives",
        )
