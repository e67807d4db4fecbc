"""Follows one journal: check the chain, project, push at once, store behind it."""

import logging
from collections.abc import Callable
from itertools import islice

from broker.port import Broker, Disconnected, Following, StoredMessage
from broker.witness import Witness
from contracts.chain import Unchained, follow
from contracts.frames import RESULT_FRAME, EventFrame, ResultFrame
from contracts.limits import EVENT_FRAME_EVENTS_MAX
from contracts.results import Result
from contracts.subjects import journal_stream, result_subject
from reader.core.projection import Projection
from reader.core.rows import Cursor
from reader.service.progress import Progress
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
        *,
        witness: Witness | None,
    ) -> None:
        """Without a witness nothing is pushed either: a rebuild only projects and stores."""
        cursor = projection.cursor
        self.projected = Progress(cursor.tip.sequence)
        self.position = Progress(cursor.stream_sequence)
        self._partition = partition
        self._projection = projection
        self._storing = storing
        self._witness = witness
        self.frame_seen: Callable[[EventFrame], None] | None = None
        """Called with each frame once it is projected and pushed."""
        self._following: Following | None = None

    @property
    def backlog(self) -> int:
        """Frames received and not projected yet."""
        return 0 if self._following is None else self._following.backlog

    async def run(self, broker: Broker, after: StoredMessage | None) -> None:
        """Follow the journal after the message at the cursor; end when the broker is closed.

        Raise BrokerUnfit if the journal lost what was read, WitnessContradicted likewise.
        """
        stream = journal_stream(self._partition)
        self._following = await broker.follow(stream, after=after)
        try:
            async for messages in self._following:
                for message in messages:
                    await self._take(broker, message)
                    self.position.advance(message.sequence)
        finally:
            await self._following.close()

    async def _take(self, broker: Broker, message: StoredMessage) -> None:
        step = follow(self._projection.cursor.tip, message.data)
        if isinstance(step, Unchained):
            _log.warning(
                "partition %s: frame at stream sequence %s dropped: it %s",
                self._partition,
                message.sequence,
                step.why,
            )
            return
        tip = step.tip
        results = self._projection.apply(step.frame, Cursor(tip, message.sequence))
        if self._witness is not None:
            self._witness.record(tip.sequence, tip.hash, message.sequence)
            for proxy_id, answers in results.items():
                await self._push(broker, proxy_id, answers)
        if self.frame_seen is not None:
            self.frame_seen(step.frame)
        self.projected.advance(tip.sequence)
        await self._storing.added()

    async def _push(self, broker: Broker, proxy_id: str, results: list[Result]) -> None:
        """Push in frames that are small enough: a finished transfer may answer many requests."""
        rest = iter(results)
        while of_frame := list(islice(rest, EVENT_FRAME_EVENTS_MAX)):
            frame = ResultFrame(partition=self._partition, results=of_frame)
            try:
                await broker.publish(result_subject(proxy_id), RESULT_FRAME.encode(frame))
            except Disconnected:
                # The proxy sends its commands again, and their repeats are answered then.
                _log.warning("partition %s: results for %s not pushed", self._partition, proxy_id)
