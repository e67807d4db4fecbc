"""The gateway: holds requests, sends their commands in frames, settles them with results."""

import asyncio
import logging
from contextlib import suppress
from typing import Final, assert_never

from broker.port import Broker, Disconnected, NoResponse, NotTaken
from contracts.commands import Command
from contracts.frames import COMMAND_FRAME, RESULT_FRAME, Undecodable
from contracts.limits import HELD_REQUESTS_MAX, WAIT_MS_DEFAULT
from contracts.partitioning import SlotMap
from contracts.queries import (
    AccountQuery,
    Answer,
    CreditStepsQuery,
    EntriesQuery,
    Query,
    TransferQuery,
    UnfinishedAnswer,
    UnfinishedQuery,
)
from contracts.results import Result
from contracts.status import ProxyStatus, ReaderStatus, WriterStatus, decode_status
from contracts.subjects import command_subject, result_subject, status_subject
from proxy.core.absence import Absence
from proxy.core.held import Held, HeldRequests, SentFrame
from proxy.core.pace import Pace
from proxy.core.timing import Timing
from proxy.ports import AccountsQuery, GatewayStatus, NoRoom, Unavailable
from proxy.service.questions import Questions

_log = logging.getLogger(__name__)

_FRAMES_IN_FLIGHT_MAX: Final = 4
"""Of a partition. While so many are out, for 50 ms at most, what arrives leaves together."""
_STATUS_WAIT_S: Final = 0.3
_NOT_SENT: Final = "No broker took it in time; nothing was sent. Try again."
_ASKED_AGAIN_S: Final = 0.1
_DOUBT_MS: Final = 30_000
"""After one partition's queue took nothing, those of the others are asked for so long too: what is
wrong with the broker is seldom wrong with one stream only."""

Waiter = asyncio.Future[Result | None]


class BrokerGateway:
    """Port `Gateway` over a broker. One per proxy process."""

    def __init__(self, broker: Broker, proxy_id: str, slots: SlotMap) -> None:
        self._broker = broker
        self._proxy_id = proxy_id
        self._slots = slots
        self._pace = Pace()
        self._questions = Questions(broker)
        self._partition_count = partition_count = slots.partition_count
        self._loop = asyncio.get_running_loop()
        self._held: HeldRequests[Waiter] = HeldRequests(
            proxy_id, partition_count, _FRAMES_IN_FLIGHT_MAX
        )
        self._absences = [Absence() for _ in range(partition_count)]
        self._doubted_until_ms = 0
        self._work = [asyncio.Event() for _ in range(partition_count)]
        self._timed: dict[Waiter, Timing] = {}
        """What is told the moments of a request, for the few who want to know."""
        self._not_waiting: list[Held[Waiter]] = []
        """Requests with wait_ms 0 that were not sent yet."""
        self._status_out: asyncio.Task[GatewayStatus] | None = None
        """The question for everybody's status that is out just now."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_ms = 0

    @property
    def slots(self) -> SlotMap:
        """See the port."""
        return self._slots

    @property
    def pace(self) -> Pace:
        """See the port."""
        return self._pace

    async def run(self) -> None:
        """Listen for results and send frames until cancelled."""
        await self._broker.subscribe(result_subject(self._proxy_id), self._take_results)
        async with asyncio.TaskGroup() as senders:
            for partition in range(self._partition_count):
                senders.create_task(self._send_frames(partition))

    def submit(self, command: Command, *, wait_ms: int, timing: Timing | None = None) -> Waiter:
        """See the port.

        A client that does not wait is told so once its command is sent; the command is then
        sent again like any other until it is answered.
        """
        if len(self._held) >= HELD_REQUESTS_MAX:
            raise NoRoom
        waiter: Waiter = self._loop.create_future()
        partition = self._slots.partition_of(command.routing_account_id)
        held = self._held.add(
            command,
            partition,
            waiter,
            now_ms=self._now_ms(),
            wait_ms=wait_ms or WAIT_MS_DEFAULT,
        )
        if timing is not None:
            self._timed[waiter] = timing
            waiter.add_done_callback(self._timed.pop)
        if not wait_ms:
            self._not_waiting.append(held)
        self._wake_sender(partition)
        self._keep_timer(held.deadline_ms)
        return waiter

    async def ask(self, query: AccountsQuery) -> Answer:
        """See the port."""
        return await self.ask_partition(self._slots.partition_of(_account_of(query)), query)

    async def unfinished(self, query: UnfinishedQuery) -> list[UnfinishedAnswer]:
        """See the port."""
        answers = await asyncio.gather(
            *(self.ask_partition(partition, query) for partition in range(self._partition_count))
        )
        found = []
        for answer in answers:
            assert isinstance(answer, UnfinishedAnswer)
            found.append(answer)
        return found

    async def ask_partition(self, partition: int, query: Query) -> Answer:
        """Ask a reader of a partition, or raise NoAnswer."""
        return await self._questions.ask(partition, query)

    async def status(self) -> GatewayStatus:
        """See the port. Who comes while the question is out waits for the same answer."""
        if self._status_out is None:
            self._status_out = self._loop.create_task(self._ask_status())
            self._status_out.add_done_callback(self._status_came)
        return await asyncio.shield(self._status_out)

    def _status_came(self, _: asyncio.Task[GatewayStatus]) -> None:
        self._status_out = None

    async def _ask_status(self) -> GatewayStatus:
        answers = await asyncio.gather(
            *(self._ask_all(role) for role in ("writer", "reader", "proxy")), return_exceptions=True
        )
        found = [
            decode_status(answer) for role in answers if isinstance(role, list) for answer in role
        ]
        return GatewayStatus(
            writers=[status for status in found if isinstance(status, WriterStatus)],
            readers=[status for status in found if isinstance(status, ReaderStatus)],
            held_requests=len(self._held),
            is_connected=self._broker.is_connected,
            proxies=[status for status in found if isinstance(status, ProxyStatus)],
        )

    async def _ask_all(self, role: str) -> list[bytes]:
        return await self._broker.request_all(status_subject(role), b"", timeout_s=_STATUS_WAIT_S)

    # --- sending ---

    async def _send_frames(self, partition: int) -> None:
        """Send what waits: all requests that one turn of the event loop brought, in one frame."""
        work = self._work[partition]
        while True:
            await work.wait()
            work.clear()
            while (sent := self._held.next_frame(partition, self._now_ms())) is not None:
                self._tell_sent(sent)
                try:
                    await self._deliver(partition, sent)
                except Disconnected as fault:
                    self._held.not_sent(sent)
                    _log.warning("partition %s: held back: %s", partition, fault)
                    await self._broker.connected()
                except NotTaken:
                    self._held.not_sent(sent)
                    self._note_absence(partition)
                    await asyncio.sleep(_ASKED_AGAIN_S)  # noqa: TID251  # no queue tells of itself
                else:
                    self._release_sent()
                    self._keep_timer(sent.landed_at_ms)

    def _tell_sent(self, sent: SentFrame[Waiter]) -> None:
        if self._timed:
            for held in sent.held:
                if held.waiter in self._timed:
                    self._timed[held.waiter].sent()

    async def _deliver(self, partition: int, sent: SentFrame[Waiter]) -> None:
        """Send a frame. Where an answer is overdue, ask whether anybody takes it."""
        subject, data = command_subject(partition), COMMAND_FRAME.encode(sent.frame)
        absence = self._absences[partition]
        is_doubted = absence.is_noticed or self._now_ms() < self._doubted_until_ms
        if not (sent.is_repeat or is_doubted):
            await self._broker.publish(subject, data)
            return
        with suppress(NoResponse):  # nobody knows: then it counts as sent
            await self._broker.offer(subject, data)
            absence.taken()

    def _note_absence(self, partition: int) -> None:
        """Refuse what was never sent, if this is more than a failover."""
        now_ms = self._now_ms()
        self._doubted_until_ms = now_ms + _DOUBT_MS
        if self._absences[partition].not_taken(now_ms):
            for held in self._held.refuse_unsent(partition):
                self._give_up(held)

    def _release_sent(self) -> None:
        """Tell the clients that do not wait that their commands are on their way.

        Those that were given up before are forgotten: an outage must not pile them up.
        """
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
        landed = set[int]()
        for result in frame.results:
            held = self._held.answered(result.request_number)
            if held is not None:
                landed.add(held.partition)
                if not held.waiter.done():
                    if self._timed and held.waiter in self._timed:
                        timing = self._timed[held.waiter]
                        timing.taken(frame.journaled_at_us, frame.pushed_at_us)
                    held.waiter.set_result(result)
        for partition in landed:
            self._wake_sender(partition)

    def _keep_timer(self, deadline_ms: int) -> None:
        """See to it that the timer fires no later than a deadline."""
        if self._timer is None or deadline_ms < self._timer_at_ms:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at_ms = deadline_ms
            self._timer = self._loop.call_at(deadline_ms / 1_000, self._keep_time)

    def _keep_time(self) -> None:
        self._timer = None
        now_ms = self._now_ms() + 1  # a timer may fire a fraction of a millisecond early
        for held in self._held.give_up(now_ms):
            self._give_up(held)
        self._release_sent()
        self._held.keep_time(now_ms)
        for partition in range(self._partition_count):
            self._wake_sender(partition)
        deadline_ms = self._held.next_deadline_ms()
        if deadline_ms is not None:
            self._keep_timer(deadline_ms)

    def _wake_sender(self, partition: int) -> None:
        if self._held.has_work(partition):
            self._work[partition].set()

    def _give_up(self, held: Held[Waiter]) -> None:
        if held.waiter.done():
            return
        if held.sends:
            held.waiter.set_result(None)
        else:
            held.waiter.set_exception(Unavailable(_NOT_SENT))

    def _now_ms(self) -> int:
        return int(self._loop.time() * 1_000)


def _account_of(query: AccountsQuery) -> str:
    """The account whose partition can answer."""
    match query:
        case AccountQuery() | EntriesQuery():
            return query.account_id
        case TransferQuery():
            return query.from_account_id
        case CreditStepsQuery():
            return query.to_account_id
        case _:
            assert_never(query)
