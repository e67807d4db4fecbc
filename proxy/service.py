"""The gateway: holds requests, sends their commands in frames, settles them with results."""

import asyncio
import logging
from typing import Final

import msgspec

from broker.port import Broker, Disconnected, NoResponse
from contracts.commands import Command
from contracts.frames import COMMAND_FRAME, RESULT_FRAME, Undecodable
from contracts.limits import HELD_REQUESTS_MAX, WAIT_MS_DEFAULT
from contracts.partitioning import partition_of
from contracts.queries import (
    Answer,
    Query,
    TransferQuery,
    decode_answer,
    encode_query,
)
from contracts.results import Result
from contracts.status import ReaderStatus, WriterStatus, decode_status
from contracts.subjects import command_subject, query_subject, result_subject, status_subject
from proxy.core.held import Held, HeldRequests
from proxy.ports import GatewayStatus, NoAnswer, NoRoom

_log = logging.getLogger(__name__)

_FRAMES_IN_FLIGHT_MAX: Final = 2
_STATUS_WAIT_S: Final = 0.3
_QUERY_GRACE_S: Final = 1.0
"""A reader answers within the wait it was given; this is for the way there and back."""

Waiter = asyncio.Future[Result | None]


class BrokerGateway:
    """Port `Gateway` over a broker. One per proxy process."""

    def __init__(self, broker: Broker, proxy_id: str, partition_count: int) -> None:
        self._broker = broker
        self._proxy_id = proxy_id
        self._partition_count = partition_count
        self._loop = asyncio.get_running_loop()
        self._held: HeldRequests[Waiter] = HeldRequests(
            proxy_id, partition_count, _FRAMES_IN_FLIGHT_MAX
        )
        self._work = [asyncio.Event() for _ in range(partition_count)]
        self._is_gathering = [False] * partition_count
        self._not_waiting: list[Held[Waiter]] = []
        """Requests with wait_ms 0 that were not sent yet."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_ms = 0

    @property
    def partition_count(self) -> int:
        """See the port."""
        return self._partition_count

    async def run(self) -> None:
        """Listen for results and send frames until cancelled."""
        await self._broker.subscribe(result_subject(self._proxy_id), self._take_results)
        async with asyncio.TaskGroup() as senders:
            for partition in range(self._partition_count):
                senders.create_task(self._send_frames(partition))

    def submit(self, command: Command, *, wait_ms: int) -> Waiter:
        """See the port.

        A client that does not wait is told so once its command is sent; the command is then
        sent again like any other until it is answered.
        """
        if len(self._held) >= HELD_REQUESTS_MAX:
            raise NoRoom(f"{HELD_REQUESTS_MAX} requests are held already")
        waiter: Waiter = self._loop.create_future()
        partition = partition_of(command.routing_account_id, self._partition_count)
        held = self._held.add(
            command,
            partition,
            waiter,
            now_ms=self._now_ms(),
            wait_ms=wait_ms or WAIT_MS_DEFAULT,
        )
        if not wait_ms:
            self._not_waiting.append(held)
        self._gather(partition)
        if self._timer is None or held.deadline_ms < self._timer_at_ms:
            self._set_timer()
        return waiter

    async def ask(self, query: Query, *, wait_ms: int) -> Answer:
        """See the port."""
        account_id = query.from_account_id if isinstance(query, TransferQuery) else query.account_id
        partition = partition_of(account_id, self._partition_count)
        timeout_s = wait_ms / 1_000 + _QUERY_GRACE_S
        try:
            answer = await self._broker.request(
                query_subject(partition), encode_query(query), timeout_s=timeout_s
            )
            return decode_answer(answer)
        except (NoResponse, msgspec.DecodeError) as fault:
            raise NoAnswer(f"no reader of partition {partition} answered: {fault}") from fault

    async def status(self) -> GatewayStatus:
        """See the port."""
        answers = await asyncio.gather(
            *(self._ask_all(role) for role in ("writer", "reader")), return_exceptions=True
        )
        found = [
            decode_status(answer) for role in answers if isinstance(role, list) for answer in role
        ]
        return GatewayStatus(
            writers=[status for status in found if isinstance(status, WriterStatus)],
            readers=[status for status in found if isinstance(status, ReaderStatus)],
            held_requests=len(self._held),
            is_connected=self._broker.is_connected,
        )

    async def _ask_all(self, role: str) -> list[bytes]:
        return await self._broker.request_all(status_subject(role), b"", timeout_s=_STATUS_WAIT_S)

    # --- sending ---

    def _gather(self, partition: int) -> None:
        """Send what waits, once a turn of the event loop brings no more, or half of all waits.

        Clients that are answered together ask again together: a frame that left with the first
        of them would be a small one, and each frame costs an fsync. With one half out and one
        half gathering, writer and reader work while this process speaks HTTP.
        """
        if not self._is_gathering[partition] and self._held.waiting_count(partition):
            self._is_gathering[partition] = True
            self._loop.call_soon(self._gather_on, partition, 0)

    def _gather_on(self, partition: int, count_before: int) -> None:
        count = self._held.waiting_count(partition)
        if count_before < count < len(self._held) // 2:
            self._loop.call_soon(self._gather_on, partition, count)
        else:
            self._is_gathering[partition] = False
            self._work[partition].set()

    async def _send_frames(self, partition: int) -> None:
        subject = command_subject(partition)
        work = self._work[partition]
        while True:
            await work.wait()
            work.clear()
            while (frame := self._held.next_frame(partition, self._now_ms())) is not None:
                try:
                    await self._broker.publish(subject, COMMAND_FRAME.encode(frame))
                except Disconnected as fault:
                    _log.warning("partition %s: %s; to be sent again", partition, fault)
                else:
                    self._release_sent()

    def _release_sent(self) -> None:
        """Tell the clients that do not wait that their commands are on their way."""
        if self._not_waiting:
            for held in self._not_waiting:
                if held.sends and not held.waiter.done():
                    held.waiter.set_result(None)
            self._not_waiting = [held for held in self._not_waiting if not held.waiter.done()]

    # --- settling ---

    def _take_results(self, data: bytes) -> None:
        try:
            frame = RESULT_FRAME.decode(data)
        except Undecodable as error:
            _log.error("result frame dropped: %s", error)
            return
        for result in frame.results:
            held = self._held.answered(result.request_number)
            if held is not None and not held.waiter.done():
                held.waiter.set_result(result)
        self._gather(frame.partition)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline_ms = self._held.next_deadline_ms()
        if deadline_ms is not None:
            self._timer_at_ms = deadline_ms
            self._timer = self._loop.call_at(deadline_ms / 1_000, self._keep_time)

    def _keep_time(self) -> None:
        self._timer = None
        now_ms = self._now_ms() + 1  # a timer may fire a fraction of a millisecond early
        for held in self._held.give_up(now_ms):
            self._give_up(held)
        for partition in self._held.resend_late(now_ms):
            self._gather(partition)
        self._set_timer()

    def _give_up(self, held: Held[Waiter]) -> None:
        if held.waiter.done():
            return
        if held.sends:
            held.waiter.set_result(None)
        else:
            held.waiter.set_exception(NoRoom("the broker could not be reached; nothing was sent"))

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1_000)
