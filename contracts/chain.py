"""The rule that keeps money safe: only frames that chain on the tip count.

Writer, reader, standby, recovery and audit all follow a journal through `follow`, so they agree
on what happened whatever a deposed writer, a duplicate or a stranger put into the stream.
"""

from hashlib import blake2b

from msgspec import Struct

from contracts.events import EpochOpened
from contracts.frames import (
    EVENT_FRAME,
    HASH_BYTES,
    EventFrame,
    Undecodable,
    frame_hash,
    named_predecessor,
)
from contracts.parties import party_name


class Tip(Struct, frozen=True):
    """How far a journal has been followed."""

    sequence: int
    hash: bytes
    epoch: int
    at_ms: int


class Chained(Struct, frozen=True):
    """The frame counts; tip is the new tip."""

    tip: Tip
    frame: EventFrame


class Unchained(Struct, frozen=True):
    """The frame does not count: drop it, loudly."""

    why: str


def genesis(party: int) -> Tip:
    """The tip before the first frame. It names the party, so journals can't be swapped."""
    name = f"ewallet journal {party_name(party)}"
    seed = blake2b(name.encode(), digest_size=HASH_BYTES).digest()
    return Tip(sequence=0, hash=seed, epoch=0, at_ms=0)


class MadeByAnotherVersion(Exception):
    """A frame follows the tip, but it holds what this version does not know.

    To drop it, and all that follows it, would lose what was answered; the message says what to do.
    """


def follow(tip: Tip, data: bytes) -> Chained | Unchained:
    """Take the next frame of a journal: decoded with its new tip, or why it does not count.

    Raise MadeByAnotherVersion.
    """
    try:
        frame = EVENT_FRAME.decode(data)
    except Undecodable as error:
        if named_predecessor(data) == tip.hash:
            raise MadeByAnotherVersion(
                f"The journal goes on after sequence {tip.sequence} with what this version does"
                f" not know ({error}). Nothing was changed. Run the version that wrote it."
            ) from error
        return Unchained(f"undecodable: {error}")
    why = _why_unchained(tip, frame)
    if why is not None:
        return Unchained(why)
    return Chained(advanced(tip, frame, data), frame)


def advanced(tip: Tip, frame: EventFrame, data: bytes) -> Tip:
    """The tip after a frame that chains on it; data are the frame's bytes."""
    return Tip(
        sequence=tip.sequence + len(frame.events),
        hash=frame_hash(data),
        epoch=frame.epoch,
        at_ms=frame.sources[-1].at_ms,
    )


def _why_unchained(tip: Tip, frame: EventFrame) -> str | None:
    if frame.prev_hash != tip.hash:
        return f"follows {frame.prev_hash.hex()[:16]}, the tip is {tip.hash.hex()[:16]}"
    if frame.first_sequence != tip.sequence + 1:
        return f"starts at sequence {frame.first_sequence}, the tip is {tip.sequence}"
    if not frame.events or sum(source.count for source in frame.sources) != len(frame.events):
        return "its sources do not account for its events"
    if frame.epoch != tip.epoch + isinstance(frame.events[0], EpochOpened):
        return f"is of epoch {frame.epoch}, the tip is of {tip.epoch}"
    times = [tip.at_ms, *(source.at_ms for source in frame.sources)]
    if times != sorted(times):
        return "its time runs backwards"
    return None
