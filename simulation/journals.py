"""One journal as the auditor follows it: which of its frames count, by a check of its own."""

from contracts.chain import genesis
from contracts.events import EpochOpened
from contracts.frames import EventFrame, frame_hash


class Where:
    """One event's place."""

    __slots__ = ("at_ms", "number", "party", "sender_id", "sequence")

    def __init__(self, party: int, sequence: int, at_ms: int, sender_id: str, number: int) -> None:
        self.party = party
        self.sequence = sequence
        self.at_ms = at_ms
        self.sender_id = sender_id
        self.number = number


class Journal:
    """How far one journal is audited."""

    def __init__(self, party: int) -> None:
        self.party = party
        self.hash = genesis(party).hash
        self.sequence = 0
        self.epoch = 0
        self.at_ms = 0
        self.fingerprint_key: bytes | None = None
        self.hash_at: dict[int, bytes] = {0: self.hash}
        """Of the frame that ends with a sequence."""

    def takes(self, frame: EventFrame) -> bool:
        """Whether the frame counts: it follows the one before in every respect."""
        times = [source.at_ms for source in frame.sources]
        opens = isinstance(frame.events[0], EpochOpened) if frame.events else False
        return (
            bool(frame.events)
            and frame.prev_hash == self.hash
            and frame.first_sequence == self.sequence + 1
            and frame.epoch == self.epoch + opens
            and sum(source.count for source in frame.sources) == len(frame.events)
            and [self.at_ms, *times] == sorted([self.at_ms, *times])
        )

    def advance(self, frame: EventFrame, data: bytes) -> None:
        """Go on to the end of a frame that counts."""
        self.hash = frame_hash(data)
        self.sequence += len(frame.events)
        self.epoch = frame.epoch
        self.at_ms = frame.sources[-1].at_ms
        self.hash_at[self.sequence] = self.hash
