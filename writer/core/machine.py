"""The write-side state machine: a party's state, its place in its journal, and both together.

Live, it turns groups of queued frames into event frames and assumes that they will be written
(speculation). In recovery it takes the same frames back from the journal. Both ways lead through
`Rules.evolve` and the chain, so a replayed machine equals the one that wrote.

Messages that wait for something (a locked account) are kept here, in memory only: they are not
decided yet, just as if they were still in the queue, and whoever sent them sends them again.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from contracts.chain import Chained, Tip, Unchained, advanced, follow, genesis
from contracts.commands import Command
from contracts.events import EpochOpened, Event
from contracts.frames import EVENT_FRAME, CommandFrame, EventFrame, Source, StepFrame
from contracts.limits import DUE_EVENTS_MAX, UNFINISHED_TRANSFERS_MAX, WAITING_COMMANDS_MAX
from contracts.steps import StepMessage, Tick
from writer.core.rules import Message, Outgoing, Rules


class QueuedFrame(Struct, frozen=True):
    """A frame as it came out of the queue."""

    sequence: int
    """Stream sequence in the queue; 0 if it came past the queue, from this very process."""
    at_ms: int
    """The broker's timestamp, Unix ms; past the queue, that of what it follows from."""
    frame: CommandFrame | StepFrame

    @property
    def messages(self) -> Sequence[Message]:
        """What is to be decided."""
        frame = self.frame
        return frame.commands if isinstance(frame, CommandFrame) else frame.steps


class Position(Struct, frozen=True):
    """The last queued frame whose events are in the journal, by place and by name.

    The name tells whether the queue still holds that frame at that place: a queue in memory may
    come back from a crash and hand out its sequences a second time.
    """

    sequence: int
    sender_id: str
    first_number: int


class Decision(Struct, frozen=True):
    """What came of a group: an event frame, decided but not durable yet, and what follows it."""

    data: bytes | None
    """None: nothing happened that belongs into the journal."""
    tip: Tip
    """The journal's tip once the frame is in it."""
    at_ms: int
    """The latest time in the group, Unix ms."""
    outgoing: list[Outgoing]
    """To be sent when this frame, and every one before it, is durable."""
    let_go: list[StepMessage]
    """Steps that had waited, and are decided here or wait for something else."""


class Waiting(Struct, frozen=True):
    """A message that can't be decided yet, and its number in its sender's frame."""

    message: Message
    sender_id: str
    number: int


class _Run(Struct):
    """Events in a row that come from one frame: a Source that still grows."""

    sender_id: str
    first_number: int
    at_ms: int
    count: int


def _steps(waiting: Iterable[Waiting]) -> Iterator[StepMessage]:
    return (each.message for each in waiting if not isinstance(each.message, Command))


class _Draft:
    """An event frame in the making."""

    def __init__(self, tip: Tip) -> None:
        self.sequence = tip.sequence
        self.at_ms = tip.at_ms
        self.events: list[Event] = []
        self.outgoing: list[Outgoing] = []
        self.let_go: list[StepMessage] = []
        self._runs: list[_Run] = []

    def pass_time(self, at_ms: int) -> None:
        """Later events happen at this time, or later if the broker's clock went back."""
        self.at_ms = max(self.at_ms, at_ms)

    def add(self, event: Event, sender_id: str, number: int) -> None:
        """The next event, and which message of whom it comes from."""
        self.events.append(event)
        self.sequence += 1
        run = self._runs[-1] if self._runs else None
        if (
            run is not None
            and run.sender_id == sender_id
            and (run.first_number + run.count == number or not sender_id)
            and run.at_ms == self.at_ms
        ):
            run.count += 1
        else:
            self._runs.append(_Run(sender_id, number, self.at_ms, 1))

    def sources(self, position: Position) -> list[Source]:
        """In order; the last one names the last frame that was taken from the queue."""
        sources = [
            Source(run.sender_id, run.first_number, run.at_ms, run.count) for run in self._runs
        ]
        name = (position.sender_id, position.first_number)
        if (sources[-1].sender_id, sources[-1].first_number) != name:
            sources.append(Source(*name, self.at_ms, 0))
        return sources


R = TypeVar("R", bound=Rules)


class Machine(Generic[R]):
    """State and tip of one party. Its methods take effect at once and never await."""

    def __init__(self, party: int, rules: R) -> None:
        self.rules = rules
        self.tip = genesis(party)
        self.position = Position(sequence=0, sender_id="", first_number=0)
        self._waiting: dict[int, dict[tuple[str, Message], Waiting]] = {}
        """By what they wait for, in their order. A message that is sent again keeps its place."""
        self.waiting_count = 0

    @property
    def waiting_steps(self) -> list[StepMessage]:
        """Those that can't be decided yet."""
        return [step for queue in self._waiting.values() for step in _steps(queue.values())]

    def open_epoch(self, writer_id: str, fresh_key: bytes) -> Decision:
        """Begin a new reign: the first frame of every writer, before it reads its queue.

        fresh_key are FINGERPRINT_KEY_BYTES random bytes; they count in the first epoch only.
        What other parties still owe an answer to is asked for again.
        """
        known = self.rules.fingerprint_key
        opened = EpochOpened(writer_id, fresh_key if known is None else known)
        draft = _Draft(self.tip)
        self._evolve(draft, opened, "", 0)
        self.rules.begin_reign()
        draft.outgoing += self.rules.unanswered()
        return self._chain(self.tip.epoch + 1, draft)

    def end_reign(self) -> None:
        """Forget what waits: a machine whose frames are all durable is then as if replayed.

        But for what it asked others for, which `open_epoch` does anew.
        """
        self._waiting.clear()
        self.waiting_count = 0

    def decide(self, group: Sequence[QueuedFrame]) -> Decision:
        """Decide all messages of the frames, in order, and chain their events to the tip.

        The group holds at least one frame, and GROUP_COMMANDS_MAX messages at most.
        """
        draft = _Draft(self.tip)
        due_left = DUE_EVENTS_MAX
        for queued in group:
            draft.pass_time(queued.at_ms)
            for event in self.rules.due(draft.at_ms)[:due_left]:
                due_left -= 1
                self._evolve(draft, event, "", 0)
                draft.outgoing += self.rules.after(None, event)
            sender_id, first_number = queued.frame.sender_id, queued.frame.first_number
            for number, message in enumerate(queued.messages, first_number):
                self._take(draft, message, sender_id, number)
        if not draft.events:
            return Decision(None, self.tip, draft.at_ms, draft.outgoing, draft.let_go)
        for queued in reversed(group):
            if queued.sequence:
                frame = queued.frame
                self.position = Position(queued.sequence, frame.sender_id, frame.first_number)
                break
        return self._chain(self.tip.epoch, draft)

    def replay(self, data: bytes) -> Chained | Unchained:
        """Take a frame of the journal; an unchained one changes nothing."""
        link = follow(self.tip, data)
        if isinstance(link, Chained):
            frame = link.frame
            events = iter(enumerate(frame.events, frame.first_sequence))
            for source in frame.sources:
                for _ in range(source.count):
                    sequence, event = next(events)
                    self.rules.evolve(event, sequence, source.at_ms)
            self.rules.released.clear()
            self.tip = link.tip
            self._note_place(frame)
        return link

    # --- one message ---

    def _take(self, draft: _Draft, message: Message, sender_id: str, number: int) -> None:
        rules = self.rules
        if isinstance(message, Tick) and message.epoch != self.tip.epoch:
            return  # of a reign that is over: since then nothing was late
        if rules.unfinished_count >= UNFINISHED_TRANSFERS_MAX and rules.starts(message):
            return
        awaited = rules.waits_for(message)
        if awaited is not None:
            self._defer(awaited, Waiting(message, sender_id, number))
            return
        event = rules.decide(message)
        if event is not None:
            self._evolve(draft, event, sender_id, number)
        draft.outgoing += rules.after(message, event)
        if rules.released:
            self._let_go(draft)

    def _evolve(self, draft: _Draft, event: Event, sender_id: str, number: int) -> None:
        draft.add(event, sender_id, number)
        self.rules.evolve(event, draft.sequence, draft.at_ms)

    def _defer(self, awaited: int, waiting: Waiting) -> None:
        """Keep a message for later; without room it is dropped, and comes again."""
        queue = self._waiting.get(awaited, {})
        key = (waiting.sender_id, waiting.message)
        if key not in queue:
            if self.waiting_count >= WAITING_COMMANDS_MAX:
                return
            self.waiting_count += 1
        queue[key] = waiting
        self._waiting[awaited] = queue

    def _let_go(self, draft: _Draft) -> None:
        """Decide what waited for what is released; some of it may have to wait on."""
        released = self.rules.released
        while released:
            queue = self._waiting.pop(released.pop(), {})
            self.waiting_count -= len(queue)
            draft.let_go += _steps(queue.values())
            for waiting in queue.values():
                self._take(draft, waiting.message, waiting.sender_id, waiting.number)

    # --- the journal ---

    def _note_place(self, frame: EventFrame) -> None:
        source = frame.sources[-1]
        if source.sender_id:
            self.position = Position(frame.command_sequence, source.sender_id, source.first_number)

    def _chain(self, epoch: int, draft: _Draft) -> Decision:
        """Make the frame, and go to its tip."""
        frame = EventFrame(
            epoch=epoch,
            first_sequence=self.tip.sequence + 1,
            prev_hash=self.tip.hash,
            command_sequence=self.position.sequence,
            sources=draft.sources(self.position),
            events=draft.events,
        )
        data = EVENT_FRAME.encode(frame)
        self.tip = advanced(self.tip, frame, data)
        return Decision(data, self.tip, draft.at_ms, draft.outgoing, draft.let_go)
