"""Pushes results to the proxies, for all partitions of one process together.

What the frames of one turn of the event loop bring for a proxy leaves in one frame.
"""

import asyncio
import logging
from collections.abc import Mapping
from itertools import islice

from broker.port import Broker, Disconnected
from contracts.frames import RESULT_FRAME, ResultFrame
from contracts.limits import EVENT_FRAME_EVENTS_MAX
from contracts.results import Result
from contracts.subjects import result_subject

_log = logging.getLogger(__name__)


class ResultSender:
    """Gathers results by proxy. What gets lost is answered again when its proxy asks again."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._unsent: dict[str, list[Result]] = {}
        self._filled = asyncio.Event()

    def push(self, results: Mapping[str, list[Result]]) -> None:
        """Let each proxy's results leave at the end of this turn."""
        for proxy_id, answers in results.items():
            self._unsent.setdefault(proxy_id, []).extend(answers)
            self._filled.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            unsent, self._unsent = self._unsent, {}
            for proxy_id, results in unsent.items():
                await self._send(proxy_id, results)

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
