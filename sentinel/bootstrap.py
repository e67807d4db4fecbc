"""Puts a sentinel together and runs it until it is asked to stop."""

import asyncio
import logging
import os
from collections.abc import Sequence

from broker.nats_raft import RaftServer, new_session
from broker.port import BrokerFault
from runtime.process import run_until, say_ready
from sentinel.config import read_sentinel_settings
from sentinel.service import Sentinel

_log = logging.getLogger(__name__)


async def serve(stop: asyncio.Event) -> None:
    """Watch over the servers until stop is set. Raise BrokerFault if none lets us in."""
    settings = read_sentinel_settings(os.environ)
    async with new_session() as session:
        servers = [RaftServer(session, *addresses) for addresses in settings.servers]
        await _enter_one(servers)
        say_ready()
        await run_until(stop, Sentinel(servers, _now_ms).run())


async def _enter_one(servers: Sequence[RaftServer]) -> None:
    """A password that is wrong is told now, not when the first server dies."""
    for server in servers:
        try:
            await server.check()
        except BrokerFault as fault:
            _log.warning("%s", fault)
        else:
            return
    raise BrokerFault("no NATS server lets the sentinel in: is EWALLET_NATS_URL right?")


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1_000)
