"""An ordered, gapless reading of one stream over an ephemeral push consumer.

The library's own ordered consumer answers flow control from a quarter-second timer and resumes
without noticing a stream that lost messages; so the small protocol (ADR-17 of NATS: count the
consumer's sequence, start anew after a gap or silence) is spoken here.

Here is when another consumer follows: when the present one is silent, gets nothing though there is
more, or is left for what it delivers (`nats_delivered`). How one is made: `nats_consumer`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import nats.errors
from nats.aio.client import Client

from broker.nats_consumer import HEARTBEAT_S, Consumer
from broker.nats_copies_tried import CopiesTried
from broker.nats_delivered import Delivered
from broker.nats_stillness import Stillness
from broker.nats_streams import JetStreamApi
from broker.port import BrokerFault, BrokerUnfit, StoredMessage

_log = logging.getLogger(__name__)

_SILENCE_S: Final = 3 * HEARTBEAT_S
_ON_ITS_WAY_S: Final = 1.0
"""How long a message that the leader has may take to come here."""
_RETRY_S: Final = 0.2


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
        self._stored_message = stored_message
        self.stream = stream
        self._restore = restore
        self._reads_all = not subject
        self._tried = CopiesTried(stream)
        self._stillness = Stillness(api, stream)
        self._delivered = Delivered(
            client,
            stream,
            self._tried,
            self._stillness,
            after=after,
            may_rewind=restore is not None,
            is_gapless=restore is None and self._reads_all,
        )
        self._consumer = Consumer(
            client, api, stream, self._tried, self._delivered, subject=subject
        )
        self._loop = asyncio.get_running_loop()
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Make the first consumer; faults are the caller's here, and leave nothing behind."""
        try:
            await self._find_rewind()
            await self._consumer.make()
        except BaseException:
            await self._consumer.unsubscribe()
            raise
        self._watchers = [
            asyncio.create_task(each) for each in (self._watch(), self._look_behind())
        ]
        for watcher in self._watchers:
            watcher.add_done_callback(self._watched)

    def reset(self) -> None:
        """Make a new consumer as soon as possible: the old one may be gone."""
        self._delivered.left.set()

    @property
    def backlog(self) -> int:
        """See the port."""
        return self._delivered.count

    def __aiter__(self) -> AsyncIterator[list[StoredMessage]]:
        """See the port."""
        return self._delivered.taken()

    async def close(self) -> None:
        """See the port."""
        self._on_close(self)
        for watcher in self._watchers:
            watcher.cancel()
        self._delivered.close()
        await self._consumer.drop()

    # --- found silent, or behind ---

    async def _watch(self) -> None:
        self._note_new_consumer()
        while self._delivered.fault is None:
            try:
                async with asyncio.timeout_at(self._delivered.heard_s + _SILENCE_S):
                    await self._delivered.left.wait()
            except TimeoutError:
                await asyncio.sleep(0)  # what came while the loop was busy counts as heard
                if not self._is_silent():
                    continue
            await self._remake_consumer()
            self._note_new_consumer()

    def _note_new_consumer(self) -> None:
        self._delivered.hear()
        self._stillness.begin(self._delivered.heard_s)

    def _is_silent(self) -> bool:
        if self._delivered.is_full:
            self._delivered.hear()  # nobody listens until there is room
        if self._loop.time() < self._delivered.heard_s + _SILENCE_S:
            return False
        _log.warning("%s: nothing heard for %s s, following anew", self.stream, _SILENCE_S)
        return True

    async def _look_behind(self) -> None:
        """Follow anew when the stream's leader has a message that does not come, though one beats.

        Beside the watch: whatever else happens must not wait for an answer.
        """
        self._stillness.begin(self._loop.time())
        while self._delivered.fault is None:
            await self._stillness.lasts()
            last, count = self._delivered.last, self._consumer.count
            read = 0 if last is None else last.sequence
            if not self._can_lag or not await self._stillness.hides_more(read):
                continue
            await asyncio.sleep(_ON_ITS_WAY_S)
            if self._delivered.last is last and self._consumer.count == count:
                _log.warning("%s: nothing follows %s, though there is more", self.stream, read)
                self._consumer.leave_server()
                self.reset()

    @property
    def _can_lag(self) -> bool:
        """Whether nothing comes though this reads what does, of a stream that has copies."""
        return self._tried.has_several and self._reads_all and not self._delivered.is_full

    def _watched(self, watcher: asyncio.Task[None]) -> None:
        """Whatever ended the watch ends the iteration: nobody may wait for ever."""
        if not watcher.cancelled() and watcher.exception() is not None:
            fault = BrokerFault(f"{self.stream} is not followed: {watcher.exception()!r}")
            self._delivered.fail(fault)

    # --- made anew ---

    async def _remake_consumer(self) -> None:
        told: type[BaseException] | None = None
        while True:
            try:
                if self._restore is not None:
                    await self._restore()
                if self._tried.is_trying:
                    await asyncio.sleep(_RETRY_S)
                await self._find_rewind()
                await self._consumer.drop()
                self._delivered.left.clear()  # not before: the old one is left until here
                await self._consumer.make()
            except BrokerUnfit as fault:
                self._delivered.fail(fault)
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
        last = self._delivered.last
        if last is None or self._restore is None:
            return
        there = await self._stored_message(self.stream, last.sequence)
        if there is not None and there.at_ns == last.at_ns:
            return  # the old consumer may have brought later ones meanwhile
        _log.warning("%s: what was read last is gone, reading it from its beginning", self.stream)
        self._delivered.rewind()
