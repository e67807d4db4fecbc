"""Notices that a NATS server fell silent or was started anew, and looks after its groups then.

    each server: asked who it is ─▶ silent, or another run ─▶ outage
    outage: all that answer are asked for their groups ─▶ rule ─▶ requests for votes, through one

While nothing happens, the groups are not asked for: there may be thousands.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from broker.nats_raft import RaftServer
from broker.port import BrokerFault
from broker.raft import Member, VoteRequest
from sentinel.core.elections import Elections

_log = logging.getLogger(__name__)

_BEAT_S: Final = 0.25
_SILENT_BEAT_S: Final = 1.0
"""Of a server that stays silent: its name may take seconds to resolve, and each try a thread."""
_ASKED_SOON: Final = 2
"""Silences that change nothing yet: most servers are started again at once, and each moment until
they are heard again is one more without leaders."""
_OUTAGE_MS: Final = 20_000
"""How long the groups are looked after: afterwards they have chosen by themselves."""


class Sentinel:
    """One process's watch over all servers of a cluster."""

    def __init__(self, servers: Sequence[RaftServer], now_ms: Callable[[], int]) -> None:
        """now_ms is a monotonic clock."""
        self._servers = servers
        self._now_ms = now_ms
        self._identities: dict[RaftServer, str] = {}
        """Of those that answer."""
        self._noticed = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as works:
            for server in self._servers:
                works.create_task(self._watch(server))
            works.create_task(self._look_after())

    async def _watch(self, server: RaftServer) -> None:
        known, silences = None, 0
        while True:
            identity = await server.identity()
            if identity != known:
                self._note(server, known, identity)
            known = identity
            silences = 0 if identity else silences + 1
            await asyncio.sleep(pause_s(silences))  # noqa: TID251  # heartbeat

    def _note(self, server: RaftServer, known: str | None, identity: str) -> None:
        if identity:
            self._identities[server] = identity
        else:
            self._identities.pop(server, None)
        if known is None and identity:
            return  # what was before this process did is over
        _log.warning("%s %s", server.name, "answers again" if identity else "is silent")
        self._noticed.set()

    async def _look_after(self) -> None:
        while True:
            await self._noticed.wait()
            elections = Elections()
            until_ms = 0
            while self._noticed.is_set() or self._now_ms() < until_ms:
                if self._noticed.is_set():
                    self._noticed.clear()
                    until_ms = self._now_ms() + _OUTAGE_MS
                await hasten(dict(self._identities), elections, self._now_ms)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BEAT_S):
                        await self._noticed.wait()


def pause_s(silences: int) -> float:
    """How long not to ask a server that was silent so often, one time after the other."""
    return _BEAT_S if silences <= _ASKED_SOON else _SILENT_BEAT_S


async def hasten(
    identities: Mapping[RaftServer, str], elections: Elections, now_ms: Callable[[], int]
) -> None:
    """Ask the servers that answer for their groups, once, and send the requests that are due.

    `identities` are theirs; those of one outage have one `elections`.
    """
    servers, known = list(identities), set(identities.values())
    answers, connected = await asyncio.gather(
        asyncio.gather(*(server.groups() for server in servers)),
        asyncio.gather(*(server.connected_to() for server in servers)),
    )
    # A server that tells of no groups may be busy, and lead: then nothing is certain.
    are_alone = all(answers) and all(to is not None and to <= known for to in connected)
    requests = elections.due(answers, now_ms(), are_alone=are_alone)
    if requests:
        for each in requests:
            _log.warning(
                "%s has no leader or no majority: votes are asked for as %s, term %s; %s",
                each.group,
                each.candidate,
                each.term,
                ", ".join(_told(groups[each.group]) for groups in answers if each.group in groups),
            )
        through = [server for server, groups in zip(servers, answers, strict=True) if groups]
        await _send(through, requests)


def _told(member: Member) -> str:
    """What a member said of itself, for the log."""
    return f"{member.id}: {member.state} in term {member.term}, log to {member.last_index}"


async def _send(through: Sequence[RaftServer], requests: Sequence[VoteRequest]) -> None:
    """Send them once: a second server is tried only if the first did not take them."""
    for server in through:
        try:
            await server.request_votes(requests)
        except BrokerFault as fault:
            _log.warning("%s", fault)
        else:
            return
