"""Who listens to the changes of one partition, and what the frames for them are made of.

Owns which slots are listened to and up to where changes were pushed. Knows no broker and no clock:
the time comes in as `now_ms` of any monotonic clock.
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from contracts.changes import LISTENED_BYTES, Change, ChangeFrame, Listen
from contracts.limits import CHANGE_FRAME_CHANGES_MAX, LISTENING_PROXIES_MAX, LISTENS_UNTIL_MS
from contracts.partitioning import slot_of

_NO_SLOTS: Final = bytes(LISTENED_BYTES)


class _Listener(Struct):
    version: int
    slots: bytes
    until_ms: int


class Listening:
    """The proxies that listen to one partition."""

    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._listeners: dict[str, _Listener] = {}
        self._slots = _NO_SLOTS
        self._versions: dict[str, int] = {}
        self._pushed = 0
        self._until_ms = 0

    def __bool__(self) -> bool:
        """Whether anybody listens: if not, there is nothing to do."""
        return bool(self._listeners)

    def includes(self, account_id: str) -> bool:
        """Whether somebody listens to an account's slot."""
        slot = slot_of(account_id)
        return bool(self._slots[slot >> 3] & 1 << (slot & 7))

    def heard(self, listen: Listen, now_ms: int, tip_sequence: int) -> list[ChangeFrame]:
        """A proxy said what it listens to. Give the frames that tell all of them the tip.

        What it listens to from now on was not collected before the tip.
        """
        before = self.frames([], tip_sequence) if self._listeners else []
        self._pushed = tip_sequence
        if not listen.slots:
            self._listeners.pop(listen.proxy_id, None)
        elif self._has_room(listen):
            until_ms = now_ms + LISTENS_UNTIL_MS
            self._listeners[listen.proxy_id] = _Listener(listen.version, listen.slots, until_ms)
        self.forget_silent(now_ms, at_once=True)
        return [*before, *self.frames([], tip_sequence)]

    def forget_silent(self, now_ms: int, *, at_once: bool = False) -> None:
        """Forget the proxies that were not heard for long."""
        if not at_once and now_ms < self._until_ms:
            return
        self._listeners = {
            proxy_id: each for proxy_id, each in self._listeners.items() if each.until_ms > now_ms
        }
        self._until_ms = min((each.until_ms for each in self._listeners.values()), default=0)
        versions = {proxy_id: each.version for proxy_id, each in self._listeners.items()}
        if versions != self._versions:  # frames with the same object may be joined
            self._versions = versions
        self._slots = _union(each.slots for each in self._listeners.values())

    def frames(self, changes: list[Change], tip_sequence: int) -> list[ChangeFrame]:
        """The changes up to the tip, in frames that continue those that were made before."""
        made = []
        while len(changes) > CHANGE_FRAME_CHANGES_MAX:
            # Never between the two changes of one transfer.
            end_sequence = changes[CHANGE_FRAME_CHANGES_MAX].sequence - 1
            first = [each for each in changes if each.sequence <= end_sequence]
            made.append(self._frame(first, end_sequence))
            changes = changes[len(first) :]
        return [*made, self._frame(changes, tip_sequence)]

    def _frame(self, changes: list[Change], tip_sequence: int) -> ChangeFrame:
        after, self._pushed = self._pushed, tip_sequence
        return ChangeFrame(self._partition, after, tip_sequence, self._versions, changes)

    def _has_room(self, listen: Listen) -> bool:
        """Not for one too many, nor for what a proxy said before its last word."""
        known = self._listeners.get(listen.proxy_id)
        if known is None:
            return len(self._listeners) < LISTENING_PROXIES_MAX
        return known.version <= listen.version


def _union(slots: Iterable[bytes]) -> bytes:
    bits = 0
    for each in slots:
        bits |= int.from_bytes(each, "little")
    return bits.to_bytes(LISTENED_BYTES, "little")


def joined(frames: Iterable[ChangeFrame]) -> list[ChangeFrame]:
    """Frames that continue each other, in as few as they fit in."""
    made: list[ChangeFrame] = []
    for frame in frames:
        last = made[-1] if made else None
        if (
            last is not None
            and last.tip_sequence == frame.after_sequence
            and last.versions is frame.versions
            and len(last.changes) + len(frame.changes) <= CHANGE_FRAME_CHANGES_MAX
        ):
            last.changes.extend(frame.changes)
            made[-1] = ChangeFrame(
                frame.partition,
                last.after_sequence,
                frame.tip_sequence,
                frame.versions,
                last.changes,
            )
        else:
            made.append(frame)
    return made
