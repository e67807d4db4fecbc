"""Pushes results to the proxies, for all partitions of one process together.

What the frames of one turn of the event loop bring for a proxy leaves in one frame.
"""

import logging
from collections.abc import Mapping
from itertools import islice

from broker.port import Broker, Disconnected
from contracts.frames import RESULT_FRAME, ResultFrame
from contracts.limits import EVENT_FRAME_EVENTS_MAX
from contracts.results import Result
from contracts.subjects import result_subject
from runtime.outbox import Outbox

_log = logging.getLogger(__name__)


class ResultSender:
    """Gathers results by proxy. What gets lost is answered again when its proxy asks again."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._outbox: Outbox[str, Result] = Outbox()

    def push(self, results: Mapping[str, list[Result]]) -> None:
        """Let each proxy's results leave at the end of this turn."""
        for proxy_id, answers in results.items():
            self._outbox.add(proxy_id, answers)

    async def run(self) -> None:
        """Send until cancelled."""
        await self._outbox.run(self._send)

    async def _send(self, proxy_id: str, results: list[Result]) -> None:
        """Send in frames that are small enough: a finished transfer may answer many requests."""
        rest = iter(results)
        while of_frame := list(islice(rest, EVENT_FRAME_EVENTS_MAX)):
            try:
                await self._broker.publish(
                    result_subject(proxy_id), RESULT_FRAME.encode(ResultFrame(of_frame))
                )
            except Disconnected:
                _log.warning("%s results for %s not pushed", len(of_frame), proxy_id)
