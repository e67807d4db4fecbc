"""Pushes what changes on accounts to the proxies that listen, and nothing while nobody does."""

import asyncio
import logging
from typing import Final

from broker.port import Broker, Disconnected
from contracts.changes import ChangeFrame
from contracts.frames import CHANGE_FRAME, LISTEN, EventFrame, Undecodable
from contracts.subjects import change_subject, listen_subject
from reader.core.changes import Mark, changes_since
from reader.core.listening import Listening, joined
from reader.core.projection import Projection
from runtime.outbox import Outbox

_log = logging.getLogger(__name__)

_NO_VERSIONS: Final[dict[str, int]] = {}


class ChangeSender:
    """Sends the frames of all partitions of one process: those of one turn in as few as fit.

    A lost one is noticed by who listens, and what was in it is asked for.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._outbox: Outbox[int, ChangeFrame] = Outbox()

    def push(self, partition: int, frames: list[ChangeFrame]) -> None:
        """Let frames leave at the end of this turn."""
        self._outbox.add(partition, frames)

    async def run(self) -> None:
        """Send until cancelled."""
        await self._outbox.run(self._send)

    async def _send(self, partition: int, frames: list[ChangeFrame]) -> None:
        for frame in joined(frames):
            try:
                await self._broker.publish(change_subject(partition), CHANGE_FRAME.encode(frame))
            except Disconnected:
                _log.warning("partition %s: %s changes not pushed", partition, len(frame.changes))


class Changes:
    """The changes of one partition, and who listens to them."""

    def __init__(self, partition: int, projection: Projection) -> None:
        self.listening = Listening(partition)
        """True while there is something to do for each frame."""
        self._partition = partition
        self._projection = projection
        self._sender: ChangeSender | None = None

    async def serve(self, broker: Broker, sender: ChangeSender) -> None:
        """Hear who listens from now on; say that this reader is there, so that proxies tell it."""
        self._sender = sender
        await broker.subscribe(listen_subject(self._partition), self._hear)
        tip = self._projection.cursor.tip.sequence
        sender.push(self._partition, [ChangeFrame(self._partition, tip, tip, _NO_VERSIONS, [])])

    def mark(self, frame: EventFrame) -> Mark | None:
        """Before a frame is projected: where its changes begin; None if nobody listens."""
        self.listening.forget_silent(_now_ms())
        if not self.listening:
            return None
        return Mark(self._projection.unstored.pending, frame.first_sequence)

    def push_since(self, mark: Mark) -> None:
        """After the frame is projected, with no await in between: push its changes."""
        projection = self._projection
        changes = changes_since(
            mark, projection.unstored.pending, projection.accounts, self.listening
        )
        if changes and self._sender is not None:
            frames = self.listening.frames(changes, projection.cursor.tip.sequence)
            self._sender.push(self._partition, frames)

    def _hear(self, data: bytes) -> None:
        try:
            listen = LISTEN.decode(data)
        except Undecodable as error:
            _log.error("partition %s: who listens is not understood: %s", self._partition, error)
            return
        assert self._sender is not None, "nobody is heard before `serve`"
        tip = self._projection.cursor.tip.sequence
        self._sender.push(self._partition, self.listening.heard(listen, _now_ms(), tip))


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1_000)
