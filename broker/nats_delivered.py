"""What the consumers of one following deliver: in order, without a gap, no more than is taken.

Here it is noticed that another consumer is needed: one of its messages was lost, or its copy has
a gap, or ends before what was read from another.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from broker.nats_copies_tried import CopiesTried
from broker.nats_stillness import Stillness
from broker.port import BrokerFault, BrokerUnfit, StoredMessage

_log = logging.getLogger(__name__)

_YIELDED_MESSAGES_MAX: Final = 64
_BUFFERED_BYTES_MAX: Final = 16 * 1_024 * 1_024

_PLAIN_ACK_TOKENS: Final = 9
"""$JS.ACK.stream.consumer.delivered.stream_seq.consumer_seq.time.pending; with a domain and an
account hash in front of the stream there are more."""


class Delivered:
    """Of one following, by one consumer after the other."""

    def __init__(
        self,
        client: Client,
        stream: str,
        tried: CopiesTried,
        stillness: Stillness,
        *,
        after: StoredMessage | None,
        may_rewind: bool,
        is_gapless: bool,
    ) -> None:
        """Gapless: all messages of a stream that never loses one come, else those of a subject."""
        self._client = client
        self._stream = stream
        self._tried = tried
        self._stillness = stillness
        self._may_rewind = may_rewind
        self._is_gapless = is_gapless
        self.last = after
        """The last message that was read."""
        self._again: StoredMessage | None = None
        """What a new consumer begins with: the last message once more, or its copy lacks it."""
        self._consumer_sequence = 0
        self.left = asyncio.Event()
        """Another consumer is to come: what this one still brings says nothing new."""
        self._buffer: deque[StoredMessage] = deque()
        self._buffered_bytes = 0
        self._arrived = asyncio.Event()
        self._taken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.heard_s = 0.0
        """When anything was delivered last, by the loop's clock."""
        self.fault: BrokerFault | None = None
        """What ends the iteration, once all is taken."""
        self._is_closed = False

    def begin(self) -> int:
        """There is a new consumer; return the stream sequence that it is to begin with."""
        self._consumer_sequence = 0
        self._again = None if self._may_rewind else self.last
        if self.last is None:
            return 1
        return self.last.sequence + (self._again is None)

    def rewind(self) -> None:
        """The stream went backwards: it is read from its beginning."""
        self.last = None

    def hear(self) -> None:
        """The consumer lives, or is not expected to be heard now."""
        self.heard_s = self._loop.time()

    def fail(self, fault: BrokerFault) -> None:
        """End the iteration with this."""
        self.fault = fault
        self._arrived.set()

    def close(self) -> None:
        """End the iteration, and let in what waits for room."""
        self._is_closed = True
        self._arrived.set()
        self._taken.set()

    # --- taken ---

    @property
    def count(self) -> int:
        """Messages that are not taken yet."""
        return len(self._buffer)

    @property
    def is_full(self) -> bool:
        """Whether nothing is let in before something is taken."""
        return self._buffered_bytes >= _BUFFERED_BYTES_MAX

    async def taken(self) -> AsyncIterator[list[StoredMessage]]:
        """Some at a time, as they come, until the end. See `Following`."""
        while True:
            while not self._buffer:
                if self.fault is not None:
                    raise self.fault
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

    # --- received ---

    async def until_there_is_room(self) -> None:
        """Flow control is answered no sooner: what the server sends meanwhile is bounded too."""
        while self.is_full and not self._is_closed:
            self._taken.clear()
            await self._taken.wait()

    async def receive(self, message: Msg) -> None:
        """What the present consumer brings: a message of the stream, a beat or flow control."""
        self.hear()
        if not message.reply.startswith("$JS.ACK."):
            await self._control(message)
            return
        stored, consumer_sequence = _stored_message(message)
        if consumer_sequence != self._consumer_sequence + 1:
            if not self.left.is_set():  # told once, not for every message behind the gap
                _log.warning("%s: gap before %s, following anew", self._stream, stored.sequence)
            self.left.set()
            return
        if self._again is not None:
            self._receive_again(self._again, stored)
            return
        following = 1 if self.last is None else self.last.sequence + 1
        if self._is_gapless and stored.sequence != following:
            self._leave_copy(partial(self._tried.leave_with_gap, following, stored.sequence - 1))
            return
        self._tried.holds_next()
        self._stillness.end(self.heard_s)
        self._consumer_sequence = consumer_sequence
        self.last = stored
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
        if self.left.is_set() or self.fault is not None:
            return
        try:
            leave()
        except BrokerUnfit as fault:
            self.fail(fault)
        else:
            self.left.set()

    async def _control(self, message: Msg) -> None:
        """Answer flow control, and compare the heartbeat's count with ours."""
        headers = message.headers or {}
        stalled = message.reply or headers.get("Nats-Consumer-Stalled")
        if stalled:
            await self._client.publish(stalled)
        sent = headers.get("Nats-Last-Consumer")
        if sent is not None and int(sent) > self._consumer_sequence:
            _log.warning("%s: messages before a heartbeat are missing", self._stream)
            self.left.set()
        elif sent == "0" and self._again is not None:
            self._leave_copy(partial(self._tried.leave_short, self._again.sequence))


def _stored_message(message: Msg) -> tuple[StoredMessage, int]:
    tokens = message.reply.split(".")
    at = 5 if len(tokens) == _PLAIN_ACK_TOKENS else 7
    sequence, at_ns = int(tokens[at]), int(tokens[at + 2])
    stored = StoredMessage(sequence, at_ns, message.subject, message.data)
    return stored, int(tokens[at + 1])
