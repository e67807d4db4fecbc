"""The table of held requests: which answers are owed, what to send again, who has waited enough.

Owns request numbers, frames in flight, re-send times and deadlines; knows nothing of HTTP, NATS
or clocks. Time goes in as `now_ms` of any monotonic clock, the next deadline comes out.

    waiting ─▶ sent ─▶ answered       its result arrived
       ▲        │ └──▶ given up       its deadline passed
       └────────┘ late: no answer within RESEND_AFTER_MS, so it is sent again (commands are
                  idempotent); or never left: there was no connection

Group commit without a timer: while `frames_in_flight_max` frames of a partition are in flight,
what arrives waits, and leaves together in the next frame. A frame lands with its first answer, for
then its partition has taken all of it; or after LANDED_AFTER_MS, for it may hold nothing but
transfers that wait for other partitions, which must not keep back those that don't.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

from contracts.commands import Command
from contracts.frames import CommandFrame
from contracts.limits import COMMAND_FRAME_COMMANDS_MAX, RESEND_AFTER_MS

W = TypeVar("W")

LANDED_AFTER_MS: Final = 50
"""Longer than a partition needs for a frame at full load, and short for a client that waits."""

_COMPACTED_AT: Final = 1_024
"""Settled requests that may lie around behind one that is held for long."""


class Held(Generic[W]):
    """One request that is owed an answer; `waiter` is the shell's and opaque here."""

    __slots__ = ("command", "deadline_ms", "is_settled", "partition", "sends", "waiter")

    def __init__(self, command: Command, partition: int, waiter: W, deadline_ms: int) -> None:
        self.command = command
        self.partition = partition
        self.waiter = waiter
        self.deadline_ms = deadline_ms
        self.is_settled = False
        """Answered or given up; what still arrives for it is ignored."""
        self.sends: list[int] = []
        """Request numbers it was sent under. Empty: it was never sent."""


class SentFrame(Generic[W]):
    """One frame that was handed out; opaque to the shell but for `frame` and `is_repeat`."""

    __slots__ = (
        "frame",
        "held",
        "is_in_flight",
        "is_open",
        "landed_at_ms",
        "late_at_ms",
        "partition",
        "unanswered",
    )

    def __init__(
        self, frame: CommandFrame, partition: int, held: list[Held[W]], now_ms: int
    ) -> None:
        self.frame = frame
        self.partition = partition
        self.held = held
        self.landed_at_ms = now_ms + LANDED_AFTER_MS
        """When it has landed at the latest: `keep_time` is due then."""
        self.late_at_ms = now_ms + RESEND_AFTER_MS
        self.unanswered = len(held)
        self.is_open = True
        """Neither answered in full nor late."""
        self.is_in_flight = True
        """It has not landed yet, so it counts against the bound."""

    @property
    def is_repeat(self) -> bool:
        """Whether something in it was sent before; that waits in front of what was not."""
        return len(self.held[0].sends) > 1


class HeldRequests(Generic[W]):
    """The table of one proxy process."""

    def __init__(self, proxy_id: str, partition_count: int, frames_in_flight_max: int) -> None:
        self._proxy_id = proxy_id
        self._frames_in_flight_max = frames_in_flight_max
        self._next_number = 1
        self._count = 0
        self._waiting: list[deque[Held[W]]] = [deque() for _ in range(partition_count)]
        self._in_flight = [0] * partition_count
        self._sent: dict[int, tuple[Held[W], SentFrame[W]]] = {}
        self._flying: deque[SentFrame[W]] = deque()
        """Frames in the order of the times at which they land by themselves; landed ones fall
        out."""
        self._open: deque[SentFrame[W]] = deque()
        """Frames in the order of the times at which they are late; closed ones fall out."""
        self._by_wait_ms: dict[int, deque[Held[W]]] = {}
        """Requests of the same wait, so in the order of their deadlines; settled ones fall out."""

    def __len__(self) -> int:
        return self._count

    def add(
        self, command: Command, partition: int, waiter: W, *, now_ms: int, wait_ms: int
    ) -> Held[W]:
        """Hold a request from now for wait_ms."""
        held = Held(command, partition, waiter, now_ms + wait_ms)
        self._waiting[partition].append(held)
        same_wait = self._by_wait_ms.setdefault(wait_ms, deque())
        same_wait.append(held)
        self._count += 1
        if len(same_wait) > 2 * self._count + _COMPACTED_AT:
            self._by_wait_ms[wait_ms] = deque(each for each in same_wait if not each.is_settled)
        return held

    def next_frame(self, partition: int, now_ms: int) -> SentFrame[W] | None:
        """The frame to send now, if anything waits and there is room in flight."""
        if self._in_flight[partition] >= self._frames_in_flight_max:
            return None
        held = list(self._take_waiting(partition))
        return self._send(partition, held, now_ms) if held else None

    def not_sent(self, sent: SentFrame[W]) -> None:
        """The frame never left: its requests wait again, as if it had not been handed out.

        Told too late, when they do already, it changes nothing: they count as sent.
        """
        if not sent.is_open:
            return
        self._close(sent)
        for request in sent.held:
            self._sent.pop(request.sends.pop(), None)
        self._wait_again(sent)

    def refuse_unsent(self, partition: int) -> list[Held[W]]:
        """Settle and return the requests that wait and were never sent."""
        waiting = self._waiting[partition]
        refused = [held for held in waiting if not held.sends and not held.is_settled]
        for held in refused:
            self._settle(held)
        self._waiting[partition] = deque(held for held in waiting if not held.is_settled)
        return refused

    def answered(self, request_number: int) -> Held[W] | None:
        """Settle the request that a result names; None if nobody waits for it any more."""
        held, sent = self._sent.get(request_number, (None, None))
        if held is None or sent is None:
            return None
        self._land(sent)
        self._settle(held)
        return held

    def has_work(self, partition: int) -> bool:
        """Whether something waits and there is room in flight."""
        return (
            bool(self._waiting[partition])
            and self._in_flight[partition] < self._frames_in_flight_max
        )

    def give_up(self, now_ms: int) -> list[Held[W]]:
        """Settle and return the requests whose deadline has come."""
        given_up = []
        for same_wait in self._by_wait_ms.values():
            while same_wait and (same_wait[0].is_settled or same_wait[0].deadline_ms <= now_ms):
                held = same_wait.popleft()
                if not held.is_settled:
                    self._settle(held)
                    given_up.append(held)
        for partition in {held.partition for held in given_up}:
            waiting = self._waiting[partition]
            self._waiting[partition] = deque(each for each in waiting if not each.is_settled)
        return given_up

    def keep_time(self, now_ms: int) -> None:
        """Land frames whose time has come, and let requests of late ones wait for the next frame.

        A result of the late frame still counts when it comes after all.
        """
        while self._flying and self._flying[0].landed_at_ms <= now_ms:
            self._land(self._flying.popleft())
        while self._open and self._open[0].late_at_ms <= now_ms:
            sent = self._open.popleft()
            if sent.is_open:
                self._close(sent)
                self._wait_again(sent)

    def next_deadline_ms(self) -> int | None:
        """When `give_up` or `keep_time` has something to do next; None if nothing is held."""
        self._drop_done()
        waits = self._by_wait_ms.values()
        deadlines = [same_wait[0].deadline_ms for same_wait in waits if same_wait]
        if self._flying:
            deadlines.append(self._flying[0].landed_at_ms)
        if self._open:
            deadlines.append(self._open[0].late_at_ms)
        return min(deadlines, default=None)

    def _drop_done(self) -> None:
        """Drop the frames at the front for which nothing is to be done any more."""
        while self._flying and not self._flying[0].is_in_flight:
            self._flying.popleft()
        while self._open and not self._open[0].is_open:
            self._open.popleft()

    def _take_waiting(self, partition: int) -> Iterator[Held[W]]:
        waiting = self._waiting[partition]
        taken = 0
        while waiting and taken < COMMAND_FRAME_COMMANDS_MAX:
            held = waiting.popleft()
            if not held.is_settled:
                taken += 1
                yield held

    def _send(self, partition: int, held: list[Held[W]], now_ms: int) -> SentFrame[W]:
        first = self._next_number
        self._next_number = first + len(held)
        frame = CommandFrame(self._proxy_id, first, [request.command for request in held])
        sent = SentFrame(frame, partition, held, now_ms)
        for number, request in enumerate(held, first):
            request.sends.append(number)
            self._sent[number] = (request, sent)
        self._in_flight[partition] += 1
        self._drop_done()
        self._flying.append(sent)
        self._open.append(sent)
        return sent

    def _wait_again(self, sent: SentFrame[W]) -> None:
        unsettled = [held for held in sent.held if not held.is_settled]
        self._waiting[sent.partition].extendleft(reversed(unsettled))

    def _land(self, sent: SentFrame[W]) -> None:
        if sent.is_in_flight:
            sent.is_in_flight = False
            self._in_flight[sent.partition] -= 1

    def _close(self, sent: SentFrame[W]) -> None:
        sent.is_open = False
        self._land(sent)

    def _settle(self, held: Held[W]) -> None:
        held.is_settled = True
        self._count -= 1
        for number in held.sends:
            _, sent = self._sent.pop(number, (None, None))
            if sent is not None:
                sent.unanswered -= 1
                if sent.unanswered == 0:
                    self._close(sent)
