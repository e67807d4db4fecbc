"""Asks, before a journal is followed, whether it still holds what is known of it."""

from typing import NamedTuple

from broker.port import Broker, StoredMessage
from contracts.frames import EVENT_FRAME, Undecodable, frame_hash
from contracts.subjects import journal_stream
from reader.ports import JournalInDoubt

_WHAT_TO_DO = (
    "Nothing was changed and nothing is served. Stop the wallet, keep a copy of the data folder, "
    "and restore the journal from a copy that holds these sequences. Only if the journal is known "
    "to be right and what this reader knows to be wrong, remove {what}."
)


class Known(NamedTuple):
    """A frame that was read from the journal before."""

    sequence: int
    """Of its last event."""
    hash: bytes
    stream_sequence: int
    what: str
    """Where it is known from: words for the operator."""


async def check_journal(broker: Broker, partition: int, known: Known) -> StoredMessage | None:
    """The message of a known frame; None if nothing is known yet. Raise JournalInDoubt."""
    if not known.stream_sequence:
        return None
    stream = journal_stream(partition)
    message = await broker.stored_message(stream, known.stream_sequence)
    if message is not None and frame_hash(message.data) == known.hash:
        return message
    if message is not None:
        story = (
            f"the journal holds another frame at stream sequence {known.stream_sequence} of "
            f"{stream} than the one with the events up to sequence {known.sequence}, which was "
            f"read before; the sequences from {_first_in_doubt(message, known)} on are in doubt"
        )
    else:
        state = await broker.stream_state(stream)
        last = await broker.stored_message(stream, state.last_sequence)
        story = (
            f"the journal {stream} ends at stream sequence {state.last_sequence}, but events up "
            f"to sequence {known.sequence} (stream sequence {known.stream_sequence}) were read "
            f"before; the sequences from {_after(last)} to {known.sequence} are in doubt"
        )
    what_to_do = _WHAT_TO_DO.format(what=known.what)
    raise JournalInDoubt(f"Partition {partition}: {story} (known from {known.what}). {what_to_do}")


def _first_in_doubt(message: StoredMessage, known: Known) -> int:
    """No later than the first event of either of the two frames."""
    try:
        return min(EVENT_FRAME.decode(message.data).first_sequence, known.sequence)
    except Undecodable:
        return known.sequence


def _after(message: StoredMessage | None) -> int:
    """The sequence after those of a journal's last message."""
    if message is None:
        return 1
    try:
        frame = EVENT_FRAME.decode(message.data)
    except Undecodable:
        return 1
    return frame.first_sequence + len(frame.events)
