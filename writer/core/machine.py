"""The write-side state machine: a partition's state, its place in the journal, and both together.

Live, it turns groups of command frames into event frames and assumes that they will be written
(speculation). In recovery it takes the same frames back from the journal. Both ways lead through
`Partition.evolve` and the chain, so a replayed machine equals the one that wrote.
"""

from collections.abc import Sequence

from msgspec import Struct

from contracts.chain import Chained, Tip, Unchained, advanced, follow, genesis
from contracts.events import EpochOpened, Event
from contracts.frames import EVENT_FRAME, CommandFrame, EventFrame, Source
from writer.core.partition import Partition


class QueuedFrame(Struct, frozen=True):
    """A command frame as it came out of the queue."""

    sequence: int
    """Stream sequence in the command queue."""
    at_ms: int
    """The broker's timestamp, Unix ms."""
    frame: CommandFrame


class Position(Struct, frozen=True):
    """The last command frame whose events are in the journal, by place and by name.

    The name tells whether the queue still holds that frame at that place: a queue in memory may
    come back from a crash and hand out its sequences a second time.
    """

    sequence: int
    proxy_id: str
    first_request: int


class EventsToAppend(Struct, frozen=True):
    """One event frame, decided but not durable yet."""

    data: bytes
    tip: Tip
    """The journal's tip once the frame is in it."""


class Machine:
    """State and tip of one partition. Its methods take effect at once and never await."""

    def __init__(self, number: int, partition_count: int) -> None:
        self.partition = Partition(number, partition_count)
        self.tip = genesis(number)
        self.position = Position(sequence=0, proxy_id="", first_request=0)
        self.reigning_writer_id = ""
        """Who opened the tip's epoch."""

    def open_epoch(self, writer_id: str, fresh_key: bytes) -> EventsToAppend:
        """Begin a new reign: the first frame of every writer, before it reads a command.

        fresh_key are FINGERPRINT_KEY_BYTES random bytes; they count in the first epoch only.
        """
        known = self.partition.fingerprints
        opened = EpochOpened(writer_id, fresh_key if known is None else known.key)
        self.partition.evolve(opened, self.tip.sequence + 1)
        self.reigning_writer_id = writer_id
        source = Source(proxy_id="", first_request=0, at_ms=self.tip.at_ms, count=1)
        return self._chain(self.tip.epoch + 1, [source], [opened])

    def decide(self, group: Sequence[QueuedFrame]) -> EventsToAppend:
        """Decide all commands of the frames, in order, and chain their events to the tip.

        The group holds at least one frame, and EVENT_FRAME_EVENTS_MAX commands at most.
        """
        sources: list[Source] = []
        events: list[Event] = []
        sequence, at_ms = self.tip.sequence, self.tip.at_ms
        decide, evolve = self.partition.decide, self.partition.evolve
        for queued in group:
            frame = queued.frame
            at_ms = max(at_ms, queued.at_ms)
            sources.append(Source(frame.proxy_id, frame.first_request, at_ms, len(frame.commands)))
            for command in frame.commands:
                event = decide(command)
                sequence += 1
                evolve(event, sequence)
                events.append(event)
        last = group[-1]
        self.position = Position(last.sequence, last.frame.proxy_id, last.frame.first_request)
        return self._chain(self.tip.epoch, sources, events)

    def replay(self, data: bytes) -> Chained | Unchained:
        """Take a frame of the journal; an unchained one changes nothing."""
        link = follow(self.tip, data)
        if isinstance(link, Chained):
            frame = link.frame
            for sequence, event in enumerate(frame.events, frame.first_sequence):
                self.partition.evolve(event, sequence)
            self.tip = link.tip
            self._note_place(frame)
        return link

    def _note_place(self, frame: EventFrame) -> None:
        if isinstance(frame.events[0], EpochOpened):
            self.reigning_writer_id = frame.events[0].writer_id
        source = frame.sources[-1]
        if source.proxy_id:
            self.position = Position(frame.command_sequence, source.proxy_id, source.first_request)

    def _chain(self, epoch: int, sources: list[Source], events: list[Event]) -> EventsToAppend:
        frame = EventFrame(
            epoch=epoch,
            first_sequence=self.tip.sequence + 1,
            prev_hash=self.tip.hash,
            command_sequence=self.position.sequence,
            sources=sources,
            events=events,
        )
        data = EVENT_FRAME.encode(frame)
        self.tip = advanced(self.tip, frame, data)
        return EventsToAppend(data=data, tip=self.tip)
