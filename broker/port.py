"""What the services need of a broker, and the faults it may raise.

BrokerFault
├── Disconnected     nothing was sent
├── AppendRefused    nothing was stored: the stream is not where the sender thought
├── AppendUnknown    no answer: it may be stored or not; find out by reading
├── NotTaken         nothing was stored: no stream takes that subject now
├── NoResponse       nobody answered a request in time
├── SnapshotDamaged  what is stored of a snapshot is not all of it
└── BrokerUnfit      the server can't be trusted with a journal; a restart won't help
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from typing import Final, Protocol

from msgspec import Struct

from contracts.partitioning import SlotMap

APPEND_S_MAX: Final = 2.5
"""Longer than any disk stalls in peace. What became of an append is then read: it costs little."""


class BrokerFault(Exception):
    """An operating failure between this process and the broker."""


class Disconnected(BrokerFault):
    """There is no connection now; nothing was sent."""


class AppendRefused(BrokerFault):
    """The stream refused the message (wrong expected sequence, full, …); nothing was stored."""


class AppendUnknown(BrokerFault):
    """The append was not answered in time; whether it is stored can only be read."""


class NotTaken(BrokerFault):
    """No stream takes the message now, as while its servers choose a leader; nothing is stored."""


class NoResponse(BrokerFault):
    """A request was not answered in time, or nobody listens."""


class SnapshotDamaged(BrokerFault):
    """A snapshot is not there any more, or not all of it; an older one may be."""


class BrokerUnfit(BrokerFault):
    """The server or its streams are not fit for a ledger; the message says what to do."""


class StoredMessage(Struct, frozen=True):
    """One message of a stream."""

    sequence: int
    """Stream sequence, from 1."""
    at_ns: int
    """Broker's timestamp, Unix ns. With the sequence it identifies the message."""
    subject: str
    """Where it was sent to. Who may send there is the broker's to check, so this tells a writer's
    frame from a proxy's."""
    data: bytes


class StreamState(Struct, frozen=True):
    """How far a stream reaches."""

    first_sequence: int
    last_sequence: int
    """0 while it is empty and always was."""


class Following(Protocol):
    """An ordered, gapless reading of one stream that survives reconnects."""

    def __aiter__(self) -> AsyncIterator[list[StoredMessage]]:
        """Yield what has arrived in order, some dozens of messages at a time, never an empty list.

        A disconnect is no end: the iteration goes on once the broker is back. One that is left is
        taken up where it was by the next.
        """
        ...

    @property
    def backlog(self) -> int:
        """Messages received and not yielded yet."""
        ...

    async def close(self) -> None:
        """Stop; the iteration ends."""
        ...


class Subscription(Protocol):
    """Messages or requests of one subject that come to a handler."""

    async def end(self) -> None:
        """Let no more come; what has arrived may still be handed over."""
        ...


class Broker(Protocol):
    """One connection to the broker."""

    async def publish(self, subject: str, data: bytes) -> None:
        """Send without an answer. Raise Disconnected rather than queue for later."""
        ...

    async def offer(self, subject: str, data: bytes) -> None:
        """Send to a stream like `publish`, and return when the stream has it.

        Raise Disconnected or NotTaken when nothing is stored, NoResponse when that is not known
        soon.
        """
        ...

    async def append(
        self, subject: str, data: bytes, *, expected_last_sequence: int
    ) -> asyncio.Future[int]:
        """Send to a stream now; the future gives the stream sequence once it is durable.

        Calls are sent in their order. The future raises AppendRefused or AppendUnknown, this
        APPEND_S_MAX later at the latest unless the connection was made for patience; the call
        itself raises Disconnected. One that expects more than there is may be unknown, not refused:
        where there are copies, who lacks something may be no leader any more.
        """
        ...

    async def provide_streams(self, partition_count: int) -> None:
        """Make what is missing: all parties' journals and queues, buckets of snapshots and leases.

        Raise BrokerUnfit if what is there belongs to another wallet or is not fit for one.
        """
        ...

    async def provide_slot_map(self, wanted: SlotMap) -> SlotMap:
        """The wallet's slot map; the wanted one becomes it if there is none.

        Several may ask at once: all get the same. Raise BrokerUnfit if the map is damaged or
        another number of partitions is wanted.
        """
        ...

    async def slot_map(self) -> SlotMap:
        """The wallet's slot map, not stale.

        Raise BrokerFault if there is none yet, BrokerUnfit if it is damaged.
        """
        ...

    async def restore_queue(self, stream: str) -> None:
        """Make a queue of `provide_streams` again if it vanished with its server."""
        ...

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        expected_revision: int | None = None,
        lasts_s: int | None = None,
    ) -> int:
        """Store the value of a key of the bucket of leases; give its revision.

        It may be forgotten once it has lasted for some time, if that is named.

        With an expected revision only if the key's present value has it, 0: if there is none. Raise
        AppendRefused if it has another, NoResponse if it is not known whether it is stored.
        """
        ...

    async def follow(
        self, stream: str, *, after: StoredMessage | None, may_rewind: bool = False
    ) -> Following:
        """Read a stream in order: what follows a message, or with None from its beginning.

        A stream rewinds when the broker lost messages that were read before: a memory stream
        after a crash may hand out sequences a second time. If `after` or a later message read
        is no longer there, the stream is read from its beginning with may_rewind; without, the
        iteration raises BrokerUnfit. Only streams of `provide_streams` may rewind.
        """
        ...

    async def stream_state(self, stream: str) -> StreamState:
        """Ask the stream's leader, so the answer is not stale."""
        ...

    async def stored_message(self, stream: str, sequence: int) -> StoredMessage | None:
        """One message from the stream's leader, None if the stream does not hold it."""
        ...

    async def put_snapshot(self, party: int, sequence: int, blocks: AsyncIterator[bytes]) -> None:
        """Store a party's snapshot at a sequence: all its blocks, or nothing that anybody sees.

        Each block has FRAME_BYTES_MAX bytes at most. One at the same sequence is replaced.
        """
        ...

    async def snapshots(self, party: int) -> list[int]:
        """The sequences of a party's snapshots, the newest first."""
        ...

    def snapshot(self, party: int, sequence: int) -> AsyncGenerator[bytes, None]:
        """The blocks of a snapshot as they were put.

        Raise SnapshotDamaged, perhaps only behind the last one. Their number and sizes are right;
        whether their bits are is for the reader to check.
        """
        ...

    async def prune_snapshots(self, party: int, *, below: int, kept: Collection[int]) -> None:
        """Delete a party's snapshots below a sequence but for those kept.

        So is what unfinished puts below it have left behind.
        """
        ...

    async def subscribe(self, subject: str, handler: Callable[[bytes], None]) -> Subscription:
        """Call the handler with each message, in order, until the subscription ends.

        One that raises has a bug, which `closed` raises: who waits for that ends.
        """
        ...

    async def serve(
        self, subject: str, handler: Callable[[bytes], Awaitable[bytes | None]], *, queue: str = ""
    ) -> Subscription:
        """Answer requests, many at a time, until what is given is ended.

        With a queue group, each request goes to one member. A handler that gives None leaves it to
        others.
        """
        ...

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """The first answer, or raise NoResponse."""
        ...

    async def request_all(self, subject: str, data: bytes, *, timeout_s: float) -> list[bytes]:
        """All answers that come within the time."""
        ...

    def on_loss(self, handler: Callable[[str | None], None]) -> None:
        """Call it each time that something published may be lost and would be taken now.

        It is given the queue's stream that has another leader, as it took nothing while it had
        none; or None: the connection is back, and any may lack something.
        """
        ...

    async def close(self) -> None:
        """Flush what was sent and disconnect."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether a publish would leave now."""
        ...

    async def connected(self) -> None:
        """Return once a publish would leave: at once, or after the reconnect."""
        ...

    async def closed(self) -> None:
        """Return when the connection is given up for good. Raise what a handler raised."""
        ...
