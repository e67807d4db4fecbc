"""Pushes results to the proxies, for all partitions of one process together.

What the frames of one turn of the event loop bring for a proxy leaves in one frame.
"""

import logging
from collections.abc import Callable, Mapping
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

    def __init__(self, broker: Broker, now_us: Callable[[], int]) -> None:
        self._broker = broker
        self._now_us = now_us
        self._journaled_us: dict[str, int] = {}
        """By proxy when the newest frame was stored of those whose results have not left yet."""
        self._outbox: Outbox[str, Result] = Outbox()

    def push(self, results: Mapping[str, list[Result]], journaled_us: int) -> None:
        """Let each proxy's results, of a frame stored then, leave at the end of this turn."""
        for proxy_id, answers in results.items():
            self._outbox.add(proxy_id, answers)
            self._journaled_us[proxy_id] = max(journaled_us, self._journaled_us.get(proxy_id, 0))

    async def run(self) -> None:
        """Send until cancelled."""
        await self._outbox.run(self._send)

    async def _send(self, proxy_id: str, results: list[Result]) -> None:
        """Send in frames that are small enough: a finished transfer may answer many requests."""
        rest, journaled_us = iter(results), self._journaled_us.pop(proxy_id, 0)
        while of_frame := list(islice(rest, EVENT_FRAME_EVENTS_MAX)):
            frame = ResultFrame(of_frame, journaled_us, self._now_us())
            try:
                await self._broker.publish(result_subject(proxy_id), RESULT_FRAME.encode(frame))
            except Disconnected:
                _log.warning("%s results for %s not pushed", len(of_frame), proxy_id)
