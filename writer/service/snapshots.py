"""A party's snapshots: read when a writer recovers, written while it reigns.

    recovery   newest ─ damaged? ─▶ older ─ damaged? ─▶ … ─▶ none: the whole journal
    reign      due, and all that was decided is durable ─▶ freeze ─▶ store, block by block ─▶ prune

Only a state that is durable is frozen, and its frame's place in the stream is known by then, so a
snapshot never runs ahead of its journal. Making and storing it takes seconds, beside the hot path.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from math import inf
from time import perf_counter  # noqa: TID251  # tells how long things took; nothing is decided by it
from typing import Final, Generic, TypeVar

from msgspec import Struct

from broker.port import Broker, BrokerFault, SnapshotDamaged, StoredMessage
from broker.witness import Witnessed
from contracts.frames import frame_hash
from contracts.parties import party_title
from contracts.subjects import journal_stream
from writer.config import SnapshotRule
from writer.core.machine import Machine
from writer.core.rules import Rules
from writer.core.snapshot import Damaged, Head, Thawing, freeze

_log = logging.getLogger(__name__)

SNAPSHOTS_KEPT: Final = 2
"""Good ones of each party."""
_LOOK_AGAIN_S: Final = 1.0
"""When one is due that can't be taken at once."""

R = TypeVar("R", bound=Rules)


class Recovered(Struct, Generic[R]):
    """Where a recovery begins."""

    machine: Machine[R]
    after: StoredMessage | None
    """The journal's message that the machine has taken last; None: the machine is fresh."""
    contradicted: list[Witnessed]
    """Frames that were durable and are not in the journal where they were stored."""

    @property
    def stream_sequence(self) -> int:
        """Of the message that was taken last; 0 if there is none."""
        return 0 if self.after is None else self.after.sequence


class Base(Struct, frozen=True):
    """What the last recovery found."""

    sequence: int = 0
    """Of the snapshot that was restored, 0 if it was none."""
    skipped: int = 0
    """Newer ones that were not used."""


class Frozen(Struct, frozen=True):
    """A snapshot in the making."""

    sequence: int
    stream_sequence: int
    blocks: Iterator[bytes]
    freeze_s: float


class Written(Struct, frozen=True):
    """What became of a snapshot."""

    sequence: int
    byte_count: int
    freeze_s: float
    """For so long the hot path stood still."""
    write_s: float


class OneAtATime:
    """Shared by the parties of a process: one of them at a time writes a snapshot, one reads one.

    Who writes takes memory for the changes meanwhile. Of many that read, the first one could lead
    only when the last one can.
    """

    def __init__(self) -> None:
        self.is_taken = False
        """For writing: who finds it so comes again."""
        self.reading = asyncio.Lock()


class Snapshots(Generic[R]):
    """Those of one party."""

    def __init__(
        self, broker: Broker, party: int, rule: SnapshotRule, one_at_a_time: OneAtATime
    ) -> None:
        self._broker = broker
        self._party = party
        self._name = party_title(party)
        self._rule = rule
        self._one_at_a_time = one_at_a_time
        self._good: list[int] = []
        """Sequences of snapshots that were read here or written by a leader, the newest first."""
        self._refused: set[int] = set()
        """Of those that the last recovery did not use."""
        self._last_sequence = 0
        """Of the last one, or of the last that was tried."""
        self._last_stream_sequence: int | None = 0
        """Of its frame. None: another process wrote it, and frames count from the next look on."""
        self._due_at_s = inf
        """By the loop's clock."""
        self._knows_others = False
        """Those that other processes wrote: none is due before."""
        self._frozen: Frozen | None = None
        self._is_frozen = asyncio.Event()
        self._byte_count = 0
        self.base = Base()
        self.written: Written | None = None
        """The last one of this process."""

    # --- recovery ---

    async def restore(self, fresh: Callable[[], Machine[R]]) -> Recovered[R]:
        """The newest good snapshot that the journal confirms, as a machine; else a fresh one."""
        self._let_go()
        self._good, self._last_sequence, self._last_stream_sequence = [], 0, 0
        self._refused.clear()
        contradicted: list[Witnessed] = []
        stored = await self._broker.snapshots(self._party)
        for skipped, sequence in enumerate(stored):
            try:
                async with self._one_at_a_time.reading:
                    recovered = await self._restored(fresh(), sequence, contradicted)
            except (Damaged, SnapshotDamaged) as damage:
                self._warn(sequence, str(damage))
                recovered = None
            if recovered is not None:
                self._good, self._last_sequence = [sequence], sequence
                self._last_stream_sequence = recovered.stream_sequence
                self.base = Base(sequence, skipped)
                _log.info("%s: snapshot at sequence %s restored", self._name, sequence)
                return recovered
            self._refused.add(sequence)
        self.base = Base(0, len(stored))
        return Recovered(fresh(), None, contradicted)

    async def _restored(
        self, machine: Machine[R], sequence: int, contradicted: list[Witnessed]
    ) -> Recovered[R] | None:
        """None if the journal does not hold the snapshot's frame where it was stored."""
        head = await self._thaw(machine, sequence)
        at, tip_hash, *_ = head.tip
        if at != sequence:
            raise Damaged(f"it is of sequence {at}")
        journal = journal_stream(self._party)
        message = await self._broker.stored_message(journal, head.stream_sequence)
        if message is None or frame_hash(message.data) != tip_hash:
            self._warn(sequence, f"{journal} does not hold its frame at {head.stream_sequence}")
            contradicted.append(Witnessed(at, tip_hash, head.stream_sequence))
            return None
        return Recovered(machine, message, contradicted)

    async def _thaw(self, machine: Machine[R], sequence: int) -> Head:
        """Make the machine of the blocks while they come."""
        thawing = Thawing(machine, self._party)
        async with aclosing(self._broker.snapshot(self._party, sequence)) as blocks:
            async for block in blocks:
                thawing.add(block)
                await asyncio.sleep(0)  # noqa: TID251  # leaves other parties their turn
        return thawing.end()

    def _warn(self, sequence: int, why: str) -> None:
        _log.warning(
            "%s: its snapshot at sequence %s is not used: %s. An older one, or the whole journal, "
            "takes its place",
            self._name,
            sequence,
            why,
        )

    # --- while a reign lasts ---

    def take_if_due(self, machine: Machine[R], stream_sequence: int) -> None:
        """Freeze the machine if it is time. All that it decided must be durable.

        stream_sequence is the place of the tip's frame in the journal's stream.
        """
        if not self._knows_others:
            return
        sequence, now_s = machine.tip.sequence, asyncio.get_running_loop().time()
        if self._last_stream_sequence is None:
            self._last_stream_sequence = stream_sequence
        new = sequence - self._last_sequence
        if new <= 0:
            self._put_off()  # the last one is of now
            return
        is_due = (
            new >= self._rule.events
            or stream_sequence - self._last_stream_sequence >= self._rule.frames
            or now_s >= self._due_at_s
        )
        if not is_due or self._one_at_a_time.is_taken:
            return
        began_s = perf_counter()
        blocks = freeze(machine, self._party, stream_sequence)
        self._frozen = Frozen(sequence, stream_sequence, blocks, perf_counter() - began_s)
        self._one_at_a_time.is_taken = True
        self._is_frozen.set()

    async def run(self, take_if_due: Callable[[], None]) -> None:
        """Write what was frozen, and see to it that it is when time passes. Until cancelled."""
        self._put_off()
        await self._note_newer()
        self._knows_others = True
        take_if_due()
        try:
            while True:
                await self._wait(take_if_due)
                if self._frozen is not None:
                    await self._write(self._frozen)
                    self._let_go()
                    take_if_due()  # as much may have come meanwhile
        finally:
            self._knows_others = False
            self._let_go()

    async def _note_newer(self) -> None:
        """While this process stood by, leaders wrote snapshots: the newest of them are kept."""
        try:
            stored = await self._broker.snapshots(self._party)
        except BrokerFault as fault:
            _log.warning("%s: its snapshots are not known: %r", self._name, fault)
            self._last_stream_sequence = None
            return
        known = {*self._refused, *self._good}
        newer = [each for each in stored if each > self._last_sequence and each not in known]
        self._good = [*newer, *self._good][:SNAPSHOTS_KEPT]
        self._last_sequence = max(self._good, default=0)
        if newer:
            self._last_stream_sequence = None

    async def _wait(self, take_if_due: Callable[[], None]) -> None:
        """Return once something is frozen, or it was time to look whether something is due."""
        soon_s = asyncio.get_running_loop().time() + _LOOK_AGAIN_S
        try:
            async with asyncio.timeout_at(max(self._due_at_s, soon_s)):
                await self._is_frozen.wait()
        except TimeoutError:
            take_if_due()

    async def _write(self, frozen: Frozen) -> None:
        """Store it and prune the older ones; a fault costs this snapshot and nothing else."""
        sequence, began_s = frozen.sequence, perf_counter()
        self._last_sequence, self._last_stream_sequence = sequence, frozen.stream_sequence
        self._byte_count = 0
        try:
            await self._prune(sequence)
            async with aclosing(self._made(frozen.blocks)) as blocks:
                await self._broker.put_snapshot(self._party, sequence, blocks)
            self._good = [sequence, *self._good][:SNAPSHOTS_KEPT]
            await self._prune(sequence)
        except BrokerFault as fault:
            _log.warning("%s: snapshot at %s not written: %r", self._name, sequence, fault)
            return
        finally:
            self._put_off()
        write_s = perf_counter() - began_s
        self.written = Written(sequence, self._byte_count, frozen.freeze_s, write_s)
        _log.info(
            "%s: snapshot at sequence %s written, %s bytes, frozen in %.1f ms, written in %.1f s",
            self._name,
            sequence,
            self._byte_count,
            frozen.freeze_s * 1_000,
            write_s,
        )

    async def _prune(self, sequence: int) -> None:
        await self._broker.prune_snapshots(self._party, below=sequence, kept=self._good)

    async def _made(self, blocks: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Make the blocks one by one in a thread: most of it is copying and hashing."""
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            self._byte_count += len(block)
            yield block

    def _put_off(self) -> None:
        self._due_at_s = asyncio.get_running_loop().time() + self._rule.seconds

    def _let_go(self) -> None:
        if self._frozen is not None:
            self._frozen = None
            self._is_frozen.clear()
            self._one_at_a_time.is_taken = False
