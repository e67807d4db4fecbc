"""Follows one journal: check the chain, project, push with this turn of the loop, store later."""

import logging
from collections.abc import Callable

from broker.port import Broker, Following, StoredMessage
from broker.witness import Witness
from contracts.chain import Unchained, follow
from contracts.frames import EventFrame
from contracts.subjects import journal_stream
from reader.core.projection import Projection
from reader.core.rows import Cursor
from reader.service.changes import Changes
from reader.service.progress import Progress
from reader.service.recalling import Recalling
from reader.service.results import ResultSender
from reader.service.storing import Storing

_log = logging.getLogger(__name__)


class Follower:
    """One partition's way from its journal through the projection.

    `projected` counts sequences, `position` stream sequences (unchained frames too).
    """

    def __init__(
        self,
        partition: int,
        projection: Projection,
        storing: Storing,
        changes: Changes,
        *,
        witness: Witness | None,
        recalling: Recalling | None,
    ) -> None:
        """A rebuild has no witness; without recalling the projection looks rows up itself."""
        cursor = projection.cursor
        self.projected = Progress(cursor.tip.sequence)
        self.position = Progress(cursor.stream_sequence)
        self.unchained = 0
        """Frames that did not chain on the tip, and so did not count."""
        self._partition = partition
        self._projection = projection
        self._storing = storing
        self._changes = changes
        self._witness = witness
        self._recalling = recalling
        self.frame_seen: Callable[[EventFrame], None] | None = None
        """Called with each frame once it is projected."""
        self._following: Following | None = None

    @property
    def backlog(self) -> int:
        """Frames received and not projected yet."""
        return 0 if self._following is None else self._following.backlog

    async def run(
        self, broker: Broker, after: StoredMessage | None, results: ResultSender | None
    ) -> None:
        """Follow the journal after the message at the cursor; end when the broker is closed.

        Without a sender of results (in a rebuild) it only projects and stores. Raise BrokerUnfit
        if the journal lost what was read, WitnessContradicted likewise.
        """
        stream = journal_stream(self._partition)
        self._following = await broker.follow(stream, after=after)
        try:
            async for messages in self._following:
                for message in messages:
                    await self._take(message, results)
                    self.position.advance(message.sequence)
        finally:
            await self._following.close()

    async def _take(self, message: StoredMessage, sender: ResultSender | None) -> None:
        step = follow(self._projection.cursor.tip, message.data)
        if isinstance(step, Unchained):
            self.unchained += 1
            _log.warning(
                "partition %s: frame at stream sequence %s dropped: it %s",
                self._partition,
                message.sequence,
                step.why,
            )
            return
        if self._recalling is not None:
            await self._recalling.fetch(step.frame)
        tip = step.tip
        mark = self._changes.mark(step.frame) if self._changes.listening else None
        results = self._projection.apply(step.frame, Cursor(tip, message.sequence))
        if self._witness is not None:
            self._witness.record(tip.sequence, tip.hash, message.sequence)
        if sender is not None:
            sender.push(results, message.at_ns // 1_000)
        if mark is not None:
            self._changes.push_since(mark)
        if self.frame_seen is not None:
            self.frame_seen(step.frame)
        self.projected.advance(tip.sequence)
        await self._storing.added()
