"""Everything that is watched through one proxy: which slots it listens to, and what frames bring.

Frames of a partition count while they continue each other. Where one is missing, all that it would
have covered wait until they have asked what was in it. Several readers push the same: what was
seen is skipped. A frame says which `Listen` it covers; an account is covered by frames whose
version is that of its slot or a later one. Readers hear of a new slot one after the other, each
somewhere else in the journal. So how far frames came is remembered by version, where it differs:

    up to version  7    13    a reader that has not heard of the newest slot is ahead
                   8    12    and one that has is here; the two become one when it gets there

Anybody may claim to know what is still to come. Nothing is asked for who is ahead of the frames:
it is told when they get there, and refused when they still don't after some heartbeats.

Owns versions, gaps and what has to be asked; knows no broker, no connection and no clock.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise, takewhile
from typing import Final, Generic, TypeVar

from msgspec import Struct

from contracts.changes import ChangeFrame, Listen, slots_to_bytes
from contracts.partitioning import SlotMap, slot_of
from contracts.queries import ChangesAnswer, NotFound
from proxy.core.watch import Ask, Told, Watch

L = TypeVar("L", bound=Hashable)

_NO_VERSION: Final = 0
_NOT_SEEN: Final = -1

CLAIM_BEATS: Final = 3
"""Heartbeats that who claims to know the future may wait: a reader may lag for a moment."""


def sequence_asked_for(asks: Sequence[Ask]) -> int:
    """How far the answer to asks that are sent together must reach.

    Where frames come from, readers are soon.
    """
    return max(ask.min_sequence for ask in asks)


class _Slot(Struct, Generic[L]):
    since: int
    """The version that it was added with."""
    watches: dict[str, Watch[L]]


class _Reach(Struct):
    """How far frames came for the slots of some versions: up to this, from the reach before on."""

    version: int
    seen: int
    """Up to here frames continued each other."""


class _Channel(Generic[L]):
    """One partition that somebody watches."""

    def __init__(self) -> None:
        self.watches: dict[str, Watch[L]] = {}
        self.slots: dict[int, _Slot[L]] = {}
        """In the order of their versions."""
        self._reaches: list[_Reach] = []
        """From one to the next versions rise and `seen` falls: who covers more saw no more."""
        self.to_ask: OrderedDict[str, Watch[L]] = OrderedDict()
        """Who may have something to ask."""
        self._ahead: list[tuple[int, str]] = []
        """Accounts that may have something to ask when frames get to a place, in its order."""
        self._ahead_at: dict[str, int] = {}
        """The same by account."""
        self.claims: dict[tuple[str, L], int] = {}
        """New listeners with a place, by the beat at which they came. They may be ahead."""
        self.beats = 0
        """Heartbeats that readers have answered."""
        self.is_heard = False
        """Whether a frame counted since the last heartbeat."""

    @property
    def version(self) -> int:
        """The highest that a frame covered."""
        return self._reaches[-1].version if self._reaches else _NO_VERSION

    def seen_since(self, version: int) -> int | None:
        """Up to where frames have covered a slot that was added with a version."""
        return next((each.seen for each in self._reaches if version <= each.version), None)

    def cover(self, frame: ChangeFrame, version: int) -> None:
        """Let the frame count: join those that it is the first to cover, notice what is missing."""
        # Who is covered only now begins where the others are, also if this reader is behind them.
        start = max(frame.after_sequence, self._reaches[-1].seen if self._reaches else 0)
        self._divide_at(version)
        before = _NO_VERSION
        for reach in self._reaches:
            if reach.version > version:
                break
            if frame.after_sequence > reach.seen:
                for watch in self._watches_between(before, reach.version):
                    watch.cover(start, reach.seen)
                    self.may_ask(watch)
            reach.seen = max(reach.seen, start, frame.tip_sequence)
            before = reach.version
        self._join_reaches()
        self._wake()

    def may_ask(self, watch: Watch[L]) -> None:
        """Let it be asked whatever it has to ask."""
        self.to_ask[watch.account_id] = watch

    def may_ask_at(self, place: int, watch: Watch[L]) -> None:
        """Let it be asked when frames get to a place."""
        account_id = watch.account_id
        if place < self._ahead_at.get(account_id, place + 1):
            self._forget_ahead(account_id)
            self._ahead_at[account_id] = place
            insort(self._ahead, (place, account_id))

    def drop(self, watch: Watch[L]) -> None:
        """Nobody listens to it any more."""
        account_id = watch.account_id
        del self.watches[account_id]
        slot = self.slots[watch.slot]
        del slot.watches[account_id]
        if not slot.watches:
            del self.slots[watch.slot]
        self.to_ask.pop(account_id, None)
        self._forget_ahead(account_id)

    def _divide_at(self, version: int) -> None:
        """Let there be a reach that ends with a version."""
        at = bisect_left(self._reaches, version, key=lambda each: each.version)
        if at == len(self._reaches):
            self._reaches.append(_Reach(version, _NOT_SEEN))
        elif self._reaches[at].version > version:
            self._reaches.insert(at, _Reach(version, self._reaches[at].seen))

    def _join_reaches(self) -> None:
        """Let those that came as far be one."""
        differing = [each for each, after in pairwise(self._reaches) if each.seen > after.seen]
        self._reaches = [*differing, self._reaches[-1]]

    def _watches_between(self, before: int, version: int) -> Iterator[Watch[L]]:
        """Those whose slots were added behind a version, up to another."""
        newest = takewhile(lambda each: each.since > before, reversed(self.slots.values()))
        for slot in newest:
            if slot.since <= version:
                yield from slot.watches.values()

    def _forget_ahead(self, account_id: str) -> None:
        place = self._ahead_at.pop(account_id, None)
        if place is not None:
            del self._ahead[bisect_left(self._ahead, (place, account_id))]

    def _wake(self) -> None:
        """Let those be asked for to whose place frames may have come, or be put back."""
        count = bisect_right(self._ahead, self._reaches[0].seen, key=lambda each: each[0])
        for _, account_id in self._ahead[:count]:
            del self._ahead_at[account_id]
            self.may_ask(self.watches[account_id])
        del self._ahead[:count]


class Watching(Generic[L]):
    """The watched accounts of one proxy process."""

    def __init__(self, proxy_id: str, slots: SlotMap) -> None:
        self._proxy_id = proxy_id
        self._slots = slots
        self._channels: dict[int, _Channel[L]] = {}
        self._versions: dict[int, int] = {}
        """By partition the last version that was given; it never falls."""
        self._unsaid: dict[int, None] = {}
        """Partitions whose readers have to be told soon."""

    @property
    def partitions(self) -> list[int]:
        """Those that somebody watches."""
        return list(self._channels)

    def subscribe(self, listener: L, account_id: str, from_sequence: int | None) -> list[Told[L]]:
        """Let a listener watch an account, from a sequence on or from its present state."""
        partition = self._slots.partition_of(account_id)
        channel = self._channels.setdefault(partition, _Channel())
        watch = channel.watches.get(account_id)
        if watch is None:
            watch = self._watch(channel, partition, account_id)
        seen = channel.seen_since(watch.since)
        told = list(watch.add(listener, from_sequence, seen))
        channel.claims.pop((account_id, listener), None)
        if from_sequence is not None:
            channel.claims[account_id, listener] = channel.beats
        if from_sequence is not None and seen is not None and from_sequence > seen:
            channel.may_ask_at(from_sequence, watch)
            self._unsaid[partition] = None  # readers may be further, they answer with their tip
        else:
            channel.may_ask(watch)
        return told

    def unsubscribe(self, listener: L, account_id: str) -> None:
        """Let a listener watch an account no more; it need not have done so."""
        partition = self._slots.partition_of(account_id)
        channel = self._channels.get(partition)
        watch = channel.watches.get(account_id) if channel else None
        if channel is not None and watch is not None:
            watch.remove(listener)
            channel.claims.pop((account_id, listener), None)
            self._drop_idle(channel, partition, watch)

    # --- what is said to readers ---

    def listens(self) -> list[tuple[int, Listen]]:
        """What has to be said soon, by partition: slots came, or a reader does not know."""
        unsaid, self._unsaid = self._unsaid, {}
        return [(partition, self.listen(partition)) for partition in unsaid]

    def has_to_say(self) -> bool:
        """Whether `listens` gives something."""
        return bool(self._unsaid)

    def listen(self, partition: int) -> Listen:
        """What is listened to in a partition; no slots if nobody watches it."""
        channel = self._channels.get(partition)
        slots = slots_to_bytes(set(channel.slots)) if channel else b""
        return Listen(self._proxy_id, self._versions[partition], slots)

    # --- what readers push ---

    def take(self, frame: ChangeFrame) -> Iterator[Told[L]]:
        """A frame came, perhaps late, doubled, or after others were lost."""
        channel = self._channels.get(frame.partition)
        if channel is None:
            return
        version = frame.versions.get(self._proxy_id, _NO_VERSION)
        if version == _NO_VERSION:
            self._unsaid[frame.partition] = None  # that reader does not know of this proxy
            return
        if version >= channel.version:
            channel.is_heard = True
        seen = channel.seen_since(version)
        if seen is not None and frame.tip_sequence <= seen:
            return
        channel.cover(frame, version)
        watches = channel.watches
        for change in frame.changes:
            watch = watches.get(change.account_id)
            if watch is not None and watch.since <= version:
                yield from watch.take(change)

    # --- what has to be asked ---

    def asks(self, partition: int, most: int) -> list[Ask]:
        """What to ask the readers of a partition together; `answered` must follow."""
        found: list[Ask] = []
        channel = self._channels.get(partition)
        while channel is not None and channel.to_ask and len(found) < most:
            _, watch = channel.to_ask.popitem(last=False)
            seen = channel.seen_since(watch.since)
            if seen is None:
                continue
            ask = watch.ask(seen)
            if isinstance(ask, Ask):
                found.append(ask)
            elif ask is not None:
                channel.may_ask_at(ask, watch)
        return found

    def to_be_asked(self) -> list[int]:
        """Partitions for which `asks` may give something."""
        channels = self._channels.items()
        return [each for each, channel in channels if channel.to_ask]

    def answered(
        self, partition: int, asks: Sequence[Ask], answer: ChangesAnswer | NotFound | None
    ) -> list[Told[L]]:
        """What came of asks that were sent together; what was not answered may be asked again."""
        told: list[Told[L]] = []
        found = answer.accounts if isinstance(answer, ChangesAnswer) else []
        for at, ask in enumerate(asks):
            channel = self._channels.get(partition)
            watch = channel.watches.get(ask.account_id) if channel else None
            if channel is None or watch is None:
                continue
            if isinstance(answer, ChangesAnswer) and at < len(found):
                changes = found[at]
                if changes is not None:
                    told += watch.answer(ask, changes, answer.sequence, answer.at_ms)
                elif answer.is_up_to_date:
                    told += watch.refuse(ask, answer.sequence)
            watch.settle(ask)
            channel.may_ask(watch)
            self._drop_idle(channel, partition, watch)
        return told

    # --- what is claimed ---

    def beat(self) -> list[Told[L]]:
        """A heartbeat begins: refuse claims that did not come true while readers answered some."""
        told: list[Told[L]] = []
        for partition, channel in list(self._channels.items()):
            if channel.is_heard:
                channel.is_heard = False
                channel.beats += 1
                told += self._refuse_claims(partition, channel)
        return told

    def _refuse_claims(self, partition: int, channel: _Channel[L]) -> Iterator[Told[L]]:
        until = channel.beats - CLAIM_BEATS
        old = list(takewhile(lambda each: each[1] <= until, channel.claims.items()))
        for claim, _ in old:
            del channel.claims[claim]
            account_id, listener = claim
            watch = channel.watches.get(account_id)
            if watch is None:
                continue
            seen = channel.seen_since(watch.since)
            if seen is None:
                channel.claims[claim] = channel.beats  # frames that don't cover it say nothing
            else:
                yield from watch.refuse_claim(listener, seen)
                self._drop_idle(channel, partition, watch)

    # --- watches come and go ---

    def _watch(self, channel: _Channel[L], partition: int, account_id: str) -> Watch[L]:
        number = slot_of(account_id)
        slot = channel.slots.get(number)
        if slot is None:
            version = self._versions.get(partition, _NO_VERSION) + 1
            self._versions[partition] = version
            slot = channel.slots[number] = _Slot(version, {})
            self._unsaid[partition] = None
        watch: Watch[L] = Watch(account_id, partition, number, slot.since)
        channel.watches[account_id] = slot.watches[account_id] = watch
        seen = channel.seen_since(slot.since)
        if seen is not None:
            watch.cover(seen, seen)
        return watch

    def _drop_idle(self, channel: _Channel[L], partition: int, watch: Watch[L]) -> None:
        if not watch.is_idle or channel.watches.get(watch.account_id) is not watch:
            return
        channel.drop(watch)
        if not channel.watches:
            del self._channels[partition]
            self._unsaid[partition] = None
