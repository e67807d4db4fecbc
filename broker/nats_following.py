"""An ordered, gapless reading of one stream over an ephemeral push consumer.

The library's own ordered consumer answers flow control from a quarter-second timer and resumes
without noticing a stream that lost messages; so the small protocol (ADR-17 of NATS: count the
consumer's sequence, start anew after a gap or silence) is spoken here.

A consumer reads the copy of one server. One that has a gap, ends too early or gets no more is left
for another's.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from broker.nats_copies_tried import CopiesTried
from broker.nats_stillness import Stillness
from broker.nats_streams import JetStreamApi
from broker.port import BrokerFault, BrokerUnfit, NoResponse, StoredMessage

_log = logging.getLogger(__name__)

_HEARTBEAT_S: Final = 0.5
_SILENCE_S: Final = 3 * _HEARTBEAT_S
_ON_ITS_WAY_S: Final = 1.0
"""How long a message that the leader has may take to come here."""
_CREATE_S: Final = (0.5, 0.5, 1.0, 2.0, 4.0)
"""How long each request for a consumer is waited for. Each is for another one: it may be placed on
a server that has just died, and is never made then."""
_PLACED_MAX: Final = 5
"""How many consumers are made to get one on another server: each is placed by chance."""
_RETRY_S: Final = 0.2
_YIELDED_MESSAGES_MAX: Final = 64
_BUFFERED_BYTES_MAX: Final = 16 * 1_024 * 1_024

_CONSUMER_EXISTS: Final = 10148
"""Nobody else uses the name: it was made when the server was asked before, and answered late."""

_PLAIN_ACK_TOKENS: Final = 9
"""$JS.ACK.stream.consumer.delivered.stream_seq.consumer_seq.time.pending; with a domain and an
account hash in front of the stream there are more."""


class NatsFollowing:
    """Port `Following`.

    `reset` is called by the connection after every reconnect, and when the stream has a new leader:
    the consumer lives on one server, which is usually that of the leader before.
    """

    def __init__(
        self,
        client: Client,
        api: JetStreamApi,
        stored_message: Callable[[str, int], Awaitable[StoredMessage | None]],
        stream: str,
        *,
        after: StoredMessage | None,
        restore: Callable[[], Awaitable[None]] | None,
        on_close: Callable[["NatsFollowing"], None],
        subject: str = "",
    ) -> None:
        """Restore makes a stream that may vanish or rewind again; None: this one must not.

        With a subject only its messages are read.
        """
        self._on_close = on_close
        self._client = client
        self._api = api
        self._stored_message = stored_message
        self.stream = stream
        self._restore = restore
        self._filter = {"filter_subject": subject} if subject else {}
        self._is_gapless = restore is None and not subject
        self._tried = CopiesTried(stream)
        self._last = after
        self._again: StoredMessage | None = None
        """What a new consumer begins with: the last message once more, or its copy lacks it."""
        self._consumer_sequence = 0
        self._consumer_count = 0
        self._server = ""
        """Where the consumer is, of a stream that has copies."""
        self._lagging = ""
        """The server that the last consumer was left for, as its copy got nothing."""
        self._name = client.new_inbox().rpartition(".")[2]
        self._subscription: Subscription | None = None
        self._buffer: deque[StoredMessage] = deque()
        self._buffered_bytes = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._heard_s = 0.0
        """When anything was delivered last, by the loop's clock."""
        self._stillness = Stillness(api, stream)
        self._reset = asyncio.Event()
        self._fault: BrokerFault | None = None
        self._is_closed = False
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the first consumer; faults are the caller's here, and leave nothing behind."""
        try:
            await self._find_rewind()
            await self._make_consumer()
        except BaseException:
            await self._unsubscribe()
            raise
        self._watchers = [
            asyncio.create_task(each) for each in (self._watch(), self._look_behind())
        ]
        for watcher in self._watchers:
            watcher.add_done_callback(self._watched)

    def reset(self) -> None:
        """Make a new consumer as soon as possible: the old one may be gone."""
        self._reset.set()

    @property
    def _is_left(self) -> bool:
        """Whether another consumer is to come: what this one still brings says nothing new."""
        return self._reset.is_set()

    @property
    def backlog(self) -> int:
        """See the port."""
        return len(self._buffer)

    async def __aiter__(self) -> AsyncIterator[list[StoredMessage]]:
        """See the port."""
        while True:
            while not self._buffer:
                if self._fault is not None:
                    raise self._fault
                if self._is_closed:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            yield self._take()
            if self._buffer:
                await asyncio.sleep(0)  # a long catch-up leaves others their turn

    def _take(self) -> list[StoredMessage]:
        """Only what is yielded now: whoever leaves the iteration finds the rest."""
        count = min(len(self._buffer), _YIELDED_MESSAGES_MAX)
        messages = [self._buffer.popleft() for _ in range(count)]
        self._buffered_bytes -= sum(len(message.data) for message in messages)
        self._taken.set()
        return messages

    async def close(self) -> None:
        """See the port."""
        self._is_closed = True
        self._on_close(self)
        for watcher in self._watchers:
            watcher.cancel()
        self._arrived.set()
        self._taken.set()
        await self._drop_consumer()

    # --- the consumer's life ---

    async def _watch(self) -> None:
        self._note_new_consumer()
        while self._fault is None:
            try:
                async with asyncio.timeout_at(self._heard_s + _SILENCE_S):
                    await self._reset.wait()
            except TimeoutError:
                await asyncio.sleep(0)  # what came while the loop was busy counts as heard
                if not self._is_silent():
                    continue
            await self._remake_consumer()
            self._note_new_consumer()

    def _note_new_consumer(self) -> None:
        self._heard_s = self._loop.time()
        self._stillness.begin(self._heard_s)

    def _is_silent(self) -> bool:
        if self._is_full:
            self._heard_s = self._loop.time()  # nobody listens until there is room
        if self._loop.time() < self._heard_s + _SILENCE_S:
            return False
        _log.warning("%s: nothing heard for %s s, following anew", self.stream, _SILENCE_S)
        return True

    async def _look_behind(self) -> None:
        """Follow anew when the stream's leader has a message that does not come, though one beats.

        Beside the watch: whatever else happens must not wait for an answer.
        """
        self._stillness.begin(self._loop.time())
        while self._fault is None:
            await self._stillness.lasts()
            last, count = self._last, self._consumer_count
            read = 0 if last is None else last.sequence
            if not self._can_lag or not await self._stillness.hides_more(read):
                continue
            await asyncio.sleep(_ON_ITS_WAY_S)
            if self._last is last and self._consumer_count == count:
                _log.warning("%s: nothing follows %s, though there is more", self.stream, read)
                self._lagging = self._server
                self.reset()

    @property
    def _can_lag(self) -> bool:
        """Whether nothing comes though this reads what does, of a stream that has copies."""
        return self._tried.has_several and not self._filter and not self._is_full

    @property
    def _is_full(self) -> bool:
        return self._buffered_bytes >= _BUFFERED_BYTES_MAX

    def _watched(self, watcher: asyncio.Task[None]) -> None:
        """Whatever ended the watch ends the iteration: nobody may wait for ever."""
        if not watcher.cancelled() and watcher.exception() is not None:
            self._fail(BrokerFault(f"{self.stream} is not followed: {watcher.exception()!r}"))

    def _fail(self, fault: BrokerFault) -> None:
        self._fault = fault
        self._arrived.set()

    async def _remake_consumer(self) -> None:
        told: type[BaseException] | None = None
        while True:
            try:
                if self._restore is not None:
                    await self._restore()
                if self._tried.is_trying:
                    await asyncio.sleep(_RETRY_S)
                await self._find_rewind()
                await self._drop_consumer()
                self._reset.clear()  # not before: the old one is left until here
                await self._make_consumer()
            except BrokerUnfit as fault:
                self._fail(fault)
                return
            except (BrokerFault, nats.errors.Error, OSError) as fault:
                if told is not type(fault):  # an outage is told once, not five times a second
                    told = type(fault)
                    _log.warning("%s: not followed now: %s", self.stream, fault)
                await asyncio.sleep(_RETRY_S)
            else:
                return

    async def _find_rewind(self) -> None:
        """Read a stream that may rewind from its beginning if it no longer holds what was read."""
        last = self._last
        if last is None or self._restore is None:
            return
        there = await self._stored_message(self.stream, last.sequence)
        if there is not None and there.at_ns == last.at_ns:
            return  # the old consumer may have brought later ones meanwhile
        _log.warning("%s: went backwards, reading it from its beginning", self.stream)
        self._last = None

    async def _make_consumer(self) -> None:
        """On another server than one that lags, most likely. Raise BrokerFault if none can be made.

        A server that was started again may call a copy its own for seconds before it has it.
        """
        for left in reversed(range(_PLACED_MAX)):
            await self._make_consumer_anywhere()
            if not self._lagging or self._server != self._lagging or not left:
                break
            await self._drop_consumer()
        self._lagging = ""

    async def _make_consumer_anywhere(self) -> None:
        for timeout_s in _CREATE_S:
            try:
                await self._create_consumer(timeout_s)
            except NoResponse as fault:
                if timeout_s == _CREATE_S[-1] or not isinstance(fault.__cause__, TimeoutError):
                    raise
                await self._unsubscribe()
            else:
                return

    async def _create_consumer(self, timeout_s: float) -> None:
        inbox = self._client.new_inbox()
        self._consumer_sequence = 0
        self._consumer_count += 1
        count = self._consumer_count

        async def received(message: Msg) -> None:
            await self._until_there_is_room()
            if count == self._consumer_count:  # else a late delivery of the consumer before
                await self._received(message)

        self._subscription = await self._client.subscribe(inbox, cb=received)
        last = self._last
        self._again = again = last if self._restore is None else None
        name = f"{self._name}_{count}"
        config = {
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": 1 if last is None else last.sequence + (again is None),
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(_HEARTBEAT_S * 1e9),
            "mem_storage": True,
            "num_replicas": 1,
            **self._filter,
        }
        body = {"stream_name": self.stream, "config": config, "action": "create"}
        verb = ".".join(["CONSUMER.CREATE", self.stream, name, *self._filter.values()])
        answer = await self._api(verb, body, timeout_s=timeout_s)
        error = answer.get("error")
        if error is not None and error.get("err_code") != _CONSUMER_EXISTS:
            raise BrokerFault(f"{self.stream} can't be followed: {error}")
        self._tried.has_several = error is not None or "cluster" in answer  # an error does not tell
        self._server = answer.get("cluster", {}).get("leader", "")

    async def _unsubscribe(self) -> None:
        """Expect nothing of the consumer that may or may not be made; it ends by itself."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def _drop_consumer(self) -> None:
        """End the old one; the server would forget it by itself a little later.

        Nobody waits for that: while the servers choose who decides about consumers, none answers,
        and a writer that hands over or begins anew would be held up.
        """
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        name = f"{self._name}_{self._consumer_count}"
        try:
            await subscription.unsubscribe()
            await self._client.publish(
                f"$JS.API.CONSUMER.DELETE.{self.stream}.{name}", reply=self._client.new_inbox()
            )
        except Exception as error:  # noqa: BLE001  # nats-py raises many kinds; none matters here
            _log.debug("%s: old consumer not dropped: %s", self.stream, error)

    # --- what it delivers ---

    async def _until_there_is_room(self) -> None:
        """Flow control is answered no sooner: what the server sends meanwhile is bounded too."""
        while self._is_full and not self._is_closed:
            self._taken.clear()
            await self._taken.wait()

    async def _received(self, message: Msg) -> None:
        self._heard_s = self._loop.time()
        if not message.reply.startswith("$JS.ACK."):
            await self._control(message)
            return
        stored, consumer_sequence = _stored_message(message)
        if consumer_sequence != self._consumer_sequence + 1:
            if not self._is_left:  # told once, not for every message behind the gap
                _log.warning("%s: gap before %s, following anew", self.stream, stored.sequence)
            self.reset()
            return
        if self._again is not None:
            self._receive_again(self._again, stored)
            return
        following = 1 if self._last is None else self._last.sequence + 1
        if self._is_gapless and stored.sequence != following:
            self._leave_copy(partial(self._tried.leave_with_gap, following, stored.sequence - 1))
            return
        self._tried.holds_next()
        self._stillness.end(self._heard_s)
        self._consumer_sequence = consumer_sequence
        self._last = stored
        self._buffer.append(stored)
        self._arrived.set()
        self._buffered_bytes += len(stored.data)

    def _receive_again(self, last: StoredMessage, stored: StoredMessage) -> None:
        """The first message of a consumer."""
        if (stored.sequence, stored.at_ns) != (last.sequence, last.at_ns):
            self._leave_copy(partial(self._tried.leave_short, last.sequence))
            return
        self._consumer_sequence = 1
        self._tried.holds_last()
        self._again = None

    def _leave_copy(self, leave: Callable[[], None]) -> None:
        """Follow another one, or end if there is none left. Once for each consumer."""
        if self._is_left or self._fault is not None:
            return
        try:
            leave()
        except BrokerUnfit as fault:
            self._fail(fault)
        else:
            self.reset()

    async def _control(self, message: Msg) -> None:
        """Answer flow control, and compare the heartbeat's count with ours."""
        headers = message.headers or {}
        stalled = message.reply or headers.get("Nats-Consumer-Stalled")
        if stalled:
            await self._client.publish(stalled)
        sent = headers.get("Nats-Last-Consumer")
        if sent is not None and int(sent) > self._consumer_sequence:
            _log.warning("%s: messages before a heartbeat are missing", self.stream)
            self.reset()
        elif sent == "0" and self._again is not None:
            self._leave_copy(partial(self._tried.leave_short, self._again.sequence))


def _stored_message(message: Msg) -> tuple[StoredMessage, int]:
    tokens = message.reply.split(".")
    at = 5 if len(tokens) == _PLAIN_ACK_TOKENS else 7
    sequence, at_ns = int(tokens[at]), int(tokens[at + 2])
    stored = StoredMessage(sequence, at_ns, message.subject, message.data)
    return stored, int(tokens[at + 1])
