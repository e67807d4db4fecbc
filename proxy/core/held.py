"""The table of held requests: which answers are owed, what to send again, who has waited enough.

Owns request numbers, frames in flight, re-send times and deadlines; knows nothing of HTTP, NATS
or clocks. Time goes in as `now_ms` of any monotonic clock, the next deadline comes out.

    waiting ─▶ sent ─▶ answered       its result arrived
       ▲        │ └──▶ given up       its deadline passed
       └────────┘ late: not answered in time, so it is sent again (commands are idempotent)

Group commit without a timer: while `frames_in_flight_max` frames of a partition are out, what
arrives waits, and leaves together in the next frame.
"""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Generic, TypeVar

from contracts.commands import Command
from contracts.frames import CommandFrame
from contracts.limits import COMMAND_FRAME_COMMANDS_MAX, RESEND_AFTER_MS

W = TypeVar("W")


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


class _SentFrame(Generic[W]):
    __slots__ = ("held", "is_out", "partition", "resends", "unanswered")

    def __init__(self, partition: int, held: list[Held[W]], resends: int) -> None:
        self.partition = partition
        self.held = held
        self.unanswered = len(held)
        self.resends = resends
        self.is_out = True
        """Counts as in flight: neither answered in full nor late."""


class HeldRequests(Generic[W]):
    """The table of one proxy process."""

    def __init__(self, proxy_id: str, partition_count: int, frames_in_flight_max: int) -> None:
        self._proxy_id = proxy_id
        self._frames_in_flight_max = frames_in_flight_max
        self._next_number = 1
        self._count = 0
        self._waiting: list[deque[Held[W]]] = [deque() for _ in range(partition_count)]
        self._in_flight = [0] * partition_count
        self._sent: dict[int, tuple[Held[W], _SentFrame[W]]] = {}
        self._late_at: list[tuple[int, int, _SentFrame[W]]] = []
        """A heap of (when the frame is late, its first number, frame)."""
        self._by_wait_ms: dict[int, deque[Held[W]]] = {}
        """Requests of the same wait, so in the order of their deadlines."""

    def __len__(self) -> int:
        return self._count

    def add(
        self, command: Command, partition: int, waiter: W, *, now_ms: int, wait_ms: int
    ) -> Held[W]:
        """Hold a request from now for wait_ms."""
        held = Held(command, partition, waiter, now_ms + wait_ms)
        self._waiting[partition].append(held)
        same_wait = self._by_wait_ms.get(wait_ms)
        if same_wait is None:
            same_wait = self._by_wait_ms[wait_ms] = deque()
        while same_wait and same_wait[0].is_settled:
            same_wait.popleft()
        same_wait.append(held)
        self._count += 1
        return held

    def next_frame(self, partition: int, now_ms: int) -> CommandFrame | None:
        """The frame to send now, if anything waits and there is room in flight."""
        if self._in_flight[partition] >= self._frames_in_flight_max:
            return None
        held = list(self._take_waiting(partition))
        if not held:
            return None
        return self._send(partition, held, now_ms)

    def answered(self, request_number: int) -> Held[W] | None:
        """Settle the request that a result names; None if nobody waits for it any more."""
        held, frame = self._sent.pop(request_number, (None, None))
        if held is None or frame is None:
            return None
        frame.unanswered -= 1
        if frame.unanswered == 0:
            self._land(frame)
        if held.is_settled:
            return None
        self._settle(held)
        return held

    def waiting_count(self, partition: int) -> int:
        """How many requests `next_frame` could take; 0 while there is no room in flight."""
        if self._in_flight[partition] >= self._frames_in_flight_max:
            return 0
        return len(self._waiting[partition])

    def give_up(self, now_ms: int) -> list[Held[W]]:
        """Settle and return the requests whose deadline has come."""
        given_up = []
        for same_wait in self._by_wait_ms.values():
            while same_wait and (same_wait[0].is_settled or same_wait[0].deadline_ms <= now_ms):
                held = same_wait.popleft()
                if not held.is_settled:
                    self._settle(held)
                    given_up.append(held)
        return given_up

    def resend_late(self, now_ms: int) -> set[int]:
        """Let requests of late frames wait for the next frame; return their partitions.

        A result of the late frame still counts when it comes after all.
        """
        partitions = set()
        while self._late_at and self._late_at[0][0] <= now_ms:
            _, _, frame = heappop(self._late_at)
            if frame.is_out:
                self._land(frame)
                unsettled = [held for held in frame.held if not held.is_settled]
                self._waiting[frame.partition].extendleft(reversed(unsettled))
                partitions.add(frame.partition)
        return partitions

    def next_deadline_ms(self) -> int | None:
        """When `give_up` or `resend_late` has something to do next; None if nothing is held."""
        while self._late_at and not self._late_at[0][2].is_out:
            heappop(self._late_at)
        deadlines = [
            same_wait[0].deadline_ms for same_wait in self._by_wait_ms.values() if same_wait
        ]
        if self._late_at:
            deadlines.append(self._late_at[0][0])
        return min(deadlines, default=None)

    def _take_waiting(self, partition: int) -> Iterator[Held[W]]:
        waiting = self._waiting[partition]
        taken = 0
        while waiting and taken < COMMAND_FRAME_COMMANDS_MAX:
            held = waiting.popleft()
            if not held.is_settled:
                taken += 1
                yield held

    def _send(self, partition: int, held: list[Held[W]], now_ms: int) -> CommandFrame:
        resends = min(len(held[0].sends), 4)
        frame = _SentFrame(partition, held, resends)
        first = self._next_number
        self._next_number = first + len(held)
        for number, request in enumerate(held, first):
            request.sends.append(number)
            self._sent[number] = (request, frame)
        self._in_flight[partition] += 1
        heappush(self._late_at, (now_ms + (RESEND_AFTER_MS << resends), first, frame))
        return CommandFrame(self._proxy_id, first, [request.command for request in held])

    def _land(self, frame: _SentFrame[W]) -> None:
        if frame.is_out:
            frame.is_out = False
            self._in_flight[frame.partition] -= 1

    def _settle(self, held: Held[W]) -> None:
        held.is_settled = True
        self._count -= 1
        for number in held.sends:
            self._forget(number)

    def _forget(self, number: int) -> None:
        _, frame = self._sent.pop(number, (None, None))
        if frame is not None:
            frame.unanswered -= 1
            if frame.unanswered == 0:
                self._land(frame)
