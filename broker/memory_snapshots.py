"""Snapshots in memory: blocks that belong to nothing until they are named."""

from collections.abc import Callable, Collection
from itertools import count

from broker.port import SnapshotDamaged


class MemorySnapshots:
    """What a server keeps of all parties' snapshots. Every method is one request to it."""

    def __init__(self) -> None:
        self.blocks: dict[int, list[bytes]] = {}
        """By a number that each put has of its own."""
        self.named: dict[tuple[int, int], tuple[int, int]] = {}
        """By (party, sequence): the put's number and how many blocks there should be."""
        self._puts: dict[int, tuple[int, int]] = {}
        """What each put is of."""
        self._numbers = count(1)

    def begin(self, party: int, sequence: int) -> int:
        """A number for a put."""
        number = next(self._numbers)
        self.blocks[number] = []
        self._puts[number] = (party, sequence)
        return number

    def add(self, number: int, block: bytes) -> None:
        """The next block of a put; nothing for one that was pruned meanwhile."""
        if number in self.blocks:
            self.blocks[number].append(block)

    def name(self, number: int, block_count: int) -> None:
        """All blocks are there: let the snapshot be seen, whatever became of them since."""
        self.named[self._puts[number]] = (number, block_count)

    def sequences(self, party: int) -> list[int]:
        """See the port."""
        return sorted((at for of, at in self.named if of == party), reverse=True)

    def get(self, party: int, sequence: int) -> list[bytes]:
        """See the port."""
        number, block_count = self.named.get((party, sequence), (0, 0))
        blocks = self.blocks.get(number, [])
        if not number or len(blocks) != block_count:
            raise SnapshotDamaged(f"it has {len(blocks)} of {block_count} chunks")
        return list(blocks)

    def prune(self, party: int, below: int, kept: Collection[int]) -> None:
        """See the port."""
        for sequence in self.sequences(party):
            if sequence < below and sequence not in kept:
                del self.named[party, sequence]
        used = {number for number, _ in self.named.values()}
        for number, (of, sequence) in list(self._puts.items()):
            if of == party and sequence < below and number not in used:
                self.blocks.pop(number, None)

    # --- faults, for tests and simulations ---

    def damage(
        self, party: int, sequence: int, change: Callable[[list[bytes]], list[bytes]]
    ) -> None:
        """Let the blocks of a snapshot be others."""
        number, _ = self.named[party, sequence]
        self.blocks[number] = change(self.blocks.get(number, []))
