"""What the machine asks of the rules of a party: a partition's or the coordinator's.

Rules are pure: order, time and identity are settled before a message gets here, so the same
events and the same message always give the same answer.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec import Struct

from contracts.commands import Command
from contracts.events import Event
from contracts.steps import StepMessage
from writer.core.blocks import Thaw

Message = Command | StepMessage


class Outgoing(Struct, frozen=True):
    """A message that another party shall get once the events before it are durable."""

    party: int
    message: StepMessage


class Rules(Protocol):
    """The state that a journal's events add up to, and what to do about messages."""

    released: list[int]
    """What messages may have waited for and need not any more; the machine takes them out."""

    @property
    def fingerprint_key(self) -> bytes | None:
        """Known once the first epoch is opened, so before any message."""
        ...

    @property
    def unfinished_count(self) -> int:
        """Transfers that wait for another party; while there are any, time must pass."""
        ...

    @property
    def oldest_started_at_ms(self) -> int:
        """When the oldest of them was started, 0 if there is none."""
        ...

    def due(self, at_ms: int) -> list[Event]:
        """What the time alone causes, DUE_EVENTS_MAX at most. To be evolved before the next."""
        ...

    def starts(self, message: Message) -> bool:
        """Whether the message would add to what is unfinished."""
        ...

    def waits_for(self, message: Message) -> int | None:
        """What must be released before the message can be decided; None: nothing."""
        ...

    def decide(self, message: Message) -> Event | None:
        """The event that a message causes, None for a step that changes nothing."""
        ...

    def evolve(self, event: Event, sequence: int, at_ms: int) -> None:
        """Change the state as the event of this sequence and time says. Never refuses."""
        ...

    def after(self, message: Message | None, event: Event | None) -> Iterable[Outgoing]:
        """What to send once an event, caused by a message, is evolved and durable.

        No message: the time caused it. No event: the message changed nothing.
        """
        ...

    def unanswered(self) -> Iterable[Outgoing]:
        """Ask for everything that others still owe an answer to. Nothing changes by that."""
        ...

    def begin_reign(self) -> None:
        """Take nobody for late: what was asked in earlier reigns is forgotten."""
        ...

    def check(self) -> None:
        """Assert what must hold after a replay."""
        ...

    def freeze(self) -> Iterator[bytes]:
        """The state that events made until now, as blocks that are made later, one by one.

        Takes milliseconds however large the state is. Changes after the call do not count, and
        blocks may be made in another thread, because what they are made of never changes: it is
        immutable, or only ever grows, or was copied by the call, or is copied before it changes.
        Equal states give equal blocks. One freeze at a time.
        """
        ...

    def thaw(self) -> Thaw:
        """Take a frozen state into rules without any, block by block.

        It ends with the last block. Raise Unreadable, or anything at all for blocks that are not as
        they were made; of rules that did not come to the end nothing can be used.
        """
        ...
