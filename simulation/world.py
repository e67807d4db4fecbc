"""One simulated wallet: its server, its processes, and who starts them again.

The world decides which processes there should be. What ends by itself is started again, as a
supervisor does it. Writers settle among themselves who of them leads.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

from broker.memory_broker import MemoryServer
from broker.memory_jetstream import Stream
from broker.port import BrokerFault, StoredMessage
from contracts.parties import COORDINATOR, parties
from contracts.subjects import LEASES_STREAM, journal_stream, journal_subject, queue_stream
from reader.ports import ReaderUnfit
from runtime.process import Fault, Unfit
from simulation.books import Violated
from simulation.cases import note_death
from simulation.processes import (
    PARTITION_COUNT,
    Process,
    ProxyProcess,
    ReaderProcess,
    WriterProcess,
)
from simulation.snapshots import damage
from simulation.story import Story
from simulation.weather import SeededWeather
from writer.config import SnapshotRule

_START_MS: Final = 1_700_000_000_000
_LAYOUTS: Final = (
    ((0, 1, 2, 3, COORDINATOR),),
    ((0, 1), (2, 3, COORDINATOR)),
    ((0, 1, 2, 3), (COORDINATOR,)),
    ((0,), (1,), (2,), (3,), (COORDINATOR,)),
)
"""Which parties share a writer process."""

_SNAPSHOT_EVENTS: Final = (3, 20, 100, 1_000)
_SNAPSHOT_FRAMES: Final = (2, 30, 1_000)
_SNAPSHOT_S: Final = (1, 5, 60)
_IN_MEMORY: Final = [*(queue_stream(party) for party in parties(PARTITION_COUNT)), LEASES_STREAM]


class Appended:
    """A message of a stream as the world saw it stored."""

    __slots__ = ("at_s", "message", "stream")

    def __init__(self, stream: str, message: StoredMessage, at_s: float) -> None:
        self.stream = stream
        self.message = message
        self.at_s = at_s


class World:
    """Server and processes of one run."""

    def __init__(self, seed: int, folder: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.now_s: Callable[[], float] = loop.time
        self.faults = Counter[str]()
        self.cases = Counter[str]()
        """Hard cases that were reached."""
        self.story = Story(loop.time)
        self.clock_skew_s = 0.0
        self.weather = SeededWeather(Random(f"{seed} weather"), self.faults)
        self.server = MemoryServer(self._now_ns, self.weather)
        self.server.on_stored = self._note_stored
        self.is_server_down = False
        self.stored: list[Appended] = []
        """Everything that any stream ever stored, in order."""
        self.listeners: list[Callable[[Appended], None]] = []
        """Told of everything that is stored."""
        self._chance = Random(f"{seed} world")
        snapshots = Random(f"{seed} snapshots")
        self._snapshot_rule = SnapshotRule(
            events=snapshots.choice(_SNAPSHOT_EVENTS),
            frames=snapshots.choice(_SNAPSHOT_FRAMES),
            seconds=snapshots.choice(_SNAPSHOT_S),
        )
        self.on_violation: Callable[[Violated], None] = lambda _violation: None
        chance = Random(f"{seed} processes")
        self._pairs = [
            self._pair(number, group, folder, chance)
            for number, group in enumerate(self._chance.choice(_LAYOUTS))
        ]
        self.writers = [writer for pair in self._pairs for writer in pair]
        self.readers = [ReaderProcess(name, self.server, folder, chance) for name in ("r0", "r1")]
        self.proxies = [ProxyProcess(name, self.server, folder, chance) for name in ("p0", "p1")]
        self._wanted: list[Process] = [
            *(present for present, _ in self._pairs),
            self.readers[0],
            *self.proxies,
        ]
        if self._chance.random() < 0.5:  # as likely as not
            self._wanted.append(self.readers[1])
        if self._chance.random() < 0.5:
            self._wanted += [standby for _, standby in self._pairs]
        for process in self.processes:
            process.on_end = self._note_end

    @property
    def processes(self) -> list[Process]:
        """All that may run."""
        return [*self.writers, *self.readers, *self.proxies]

    @property
    def alive(self) -> list[Process]:
        """All that run now."""
        return [process for process in self.processes if process.is_alive]

    @property
    def present_writers(self) -> list[WriterProcess]:
        """The writers that there should be; together they can lead all parties."""
        return [writer for writer in self.writers if writer in self._wanted]

    # --- life ---

    def start(self) -> None:
        """Start all processes that there should be."""
        for process in self._wanted:
            self._start(process)

    def start_rival(self, old: WriterProcess) -> None:
        """Start the other writer of a pair beside a present one, if it does not run yet."""
        rival = self._other(old)
        if not rival.is_alive:
            if rival not in self._wanted:
                self._wanted.append(rival)
            self._start(rival)

    def crash(self, process: Process) -> None:
        """Kill a process, and start it again after a while if it is wanted."""
        if process.is_alive:
            self.faults[f"{process.role} crashed"] += 1
            self.story.tell(f"crash of {process.name}")
            if isinstance(process, WriterProcess):
                note_death(process, self.cases)
            process.crash()
            self._start_later(process)

    def crash_server(self, down_s: float) -> None:
        """Kill the broker, with everything it loses then; it is back after some time."""
        if self.is_server_down:
            return
        self.faults["server crashed"] += 1
        self.story.tell(f"crash of the server, for {down_s:.3f} s")
        self.is_server_down = True
        for process in self.alive:
            process.split(arriving=0)
        self.server.crash(_IN_MEMORY, self.weather)
        asyncio.get_running_loop().call_later(down_s, self._start_server)

    def lose_queues_leader(self, party: int, for_s: float) -> None:
        """Let a queue take nothing for some time."""
        stream = queue_stream(party)
        if self.server.has_leader(stream):
            self.faults["queue without a leader"] += 1
            self.story.tell(f"{stream} without a leader, for {for_s:.3f} s")
            self.server.lose_leader(stream)
            asyncio.get_running_loop().call_later(for_s, self.server.elect, stream)

    def split(self, process: Process, for_s: float) -> None:
        """Keep a process from the server for some time."""
        connection = process.connection
        if process.is_alive and connection is not None:
            self.faults[f"{process.role} split off"] += 1
            self.story.tell(f"split of {process.name}, for {for_s:.3f} s")
            process.split()
            asyncio.get_running_loop().call_later(for_s, process.heal, connection)

    def pause(self, process: Process, for_s: float) -> None:
        """Let nothing come from or to a process for some time; nobody notices."""
        if process.is_alive and process.connection is not None:
            self.faults[f"{process.role} paused"] += 1
            self.story.tell(f"pause of {process.name}, for {for_s:.3f} s")
            process.connection.session.hold(self.now_s() + for_s)

    def jump_clock(self, by_s: float) -> None:
        """Change the broker's clock."""
        self.faults["clock forward" if by_s > 0 else "clock back"] += 1
        self.story.tell(f"the broker's clock jumps by {by_s:.3f} s")
        self.clock_skew_s += by_s

    def repeat_frame(self, party: int, chance: Random) -> None:
        """Let a frame that a journal holds come again at its end, as a lost writer's might."""
        stream = self.server.streams.get(journal_stream(party))
        if stream is not None and stream.messages:
            self.faults["journal frame repeated"] += 1
            self.story.tell(f"an old frame of {stream.name} comes again")
            self.server.publish(journal_subject(party), chance.choice(stream.messages).data)

    def damage_snapshot(self, chance: Random) -> None:
        """Damage a snapshot that is whole, and mostly kill at once who would write another."""
        party = damage(self.server.snapshots, chance, self._note_damage)
        if party is not None and chance.random() < 0.7:
            for writer in self.present_writers:
                if party in writer.parties:
                    self.crash(writer)

    def _note_damage(self, how: str, party: int, sequence: int) -> None:
        self.faults[f"snapshot {how}"] += 1
        self.story.tell(f"snapshot {how}: of party {party} at {sequence}")

    # --- inside ---

    def _start(self, process: Process) -> None:
        if not process.is_alive and process in self._wanted:
            self.story.tell(f"start of {process.name}")
            try:
                process.start()
            except Violated as violation:
                self.on_violation(violation)
                return
            if self.is_server_down:
                process.split(arriving=0)

    def _start_later(self, process: Process) -> None:
        delay_s = 0.05 if self.weather.is_over else self._chance.choice((0.02, 0.3, 2.0))
        asyncio.get_running_loop().call_later(delay_s, self._start, process)

    def _start_server(self) -> None:
        self.story.tell("the server is back")
        self.is_server_down = False
        for process in self.alive:
            assert process.connection is not None
            delay_s = 0.3 * self._chance.random()
            asyncio.get_running_loop().call_later(delay_s, process.heal, process.connection)

    def _note_end(self, process: Process, error: Exception | None) -> None:
        """A process ended by itself."""
        self.story.tell(f"end of {process.name}: {error!r}")
        causes = list(_causes(error))
        unfit = [cause for cause in causes if isinstance(cause, Unfit | ReaderUnfit)]
        bugs = [cause for cause in causes if not isinstance(cause, BrokerFault | Fault | Unfit)]
        if bugs:
            self.on_violation(Violated(f"{process.name} stopped with a bug: {bugs[0]!r}"))
        elif unfit:
            self.on_violation(Violated(f"{process.name} found itself unfit: {unfit[0]}"))
        else:
            self._start_later(process)

    def _pair(
        self, number: int, group: tuple[int, ...], folder: Path, chance: Random
    ) -> tuple[WriterProcess, WriterProcess]:
        """Two processes that can lead a group of parties."""
        first, second = (
            WriterProcess(f"w{number}{letter}", self.server, folder, chance) for letter in "ab"
        )
        for process in (first, second):
            process.parties = frozenset(group)
            process.snapshot_rule = self._snapshot_rule
        return first, second

    def _other(self, writer: WriterProcess) -> WriterProcess:
        """The other one of a pair."""
        first, second = next(pair for pair in self._pairs if writer in pair)
        return second if writer is first else first

    def _now_ns(self) -> int:
        return _START_MS * 1_000_000 + int((self.now_s() + self.clock_skew_s) * 1e9)

    def _note_stored(self, stream: Stream, message: StoredMessage) -> None:
        if stream.name == LEASES_STREAM:
            return  # nobody's money
        appended = Appended(stream.name, message, self.now_s())
        self.stored.append(appended)
        for listener in self.listeners:
            listener(appended)


def _causes(error: Exception | None) -> list[Exception]:
    """What failed, out of the groups that task groups make."""
    if error is None:
        return []
    if isinstance(error, ExceptionGroup):
        return [cause for inner in error.exceptions for cause in _causes(inner)]
    return [error]
