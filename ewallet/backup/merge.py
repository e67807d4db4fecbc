"""The journals woven into one row of frames, of which every beginning is a consistent cut.

Each journal is read up to the place where it ended when the backup began; what follows from an
event behind that place is left out. Whatever was durable when the backup began is inside, since
what it follows from was durable earlier, and so is inside too.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from contracts.chain import Tip
from contracts.frames import EventFrame
from ewallet.backup.cut import Cut


class Link(NamedTuple):
    """A frame that counts, and where the journal is with it."""

    tip: Tip
    frame: EventFrame
    data: bytes
    stream_sequence: int


class Reading(Protocol):
    """One journal up to a place."""

    party: int
    head: Link | None
    """The next frame that counts; None at the end."""

    async def advance(self) -> None:
        """Go on to the next one; at first to the first one."""
        ...


async def weave(readings: Sequence[Reading], cut: Cut) -> AsyncIterator[tuple[int, Link]]:
    """Yield (party, link) of every frame in the greatest cut that the journals hold.

    At the end each reading's head is what was left out first, None if nothing was. Raise
    Contradiction.
    """
    for reading in readings:
        await reading.advance()
    has_moved = True
    while has_moved:
        has_moved = False
        for reading in readings:
            while (link := reading.head) is not None and cut.missing(link.frame) is None:
                cut.take(link.frame)
                has_moved = True
                yield reading.party, link
                await reading.advance()
