"""Whether each server of a cluster holds every message of every journal.

A server whose files were damaged may start without some of what it had stored, get only the newer
messages back from the others, and call itself healthy; should it lead the stream one day, whoever
copies from it lacks them too. Only its monitoring address tells.

A journal is never shortened. So a copy is whole if it begins at 1, has no gaps, and reaches as far
as any copy was ever seen to reach. One that is behind may be about to catch up, and nats-server
needs half a minute to notice that it stands still. So one is cut if it did not move in STILL_ROUNDS
rounds one after the other, in each of which its server told of it and knew a leader. What all
servers lost before they were asked for the first time can't be seen here: witnesses and snapshots
tell of that.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

import msgspec

from broker.nats_monitoring import fetch
from contracts.subjects import JOURNAL_STREAM_PREFIX

_log = logging.getLogger(__name__)

STILL_ROUNDS: Final = 8
"""35 s at least: a copy that gets nothing for 30 s asks for it anew
(`defaultStreamCatchupActivityInterval` of nats-server 2.15)."""
_ASKED_AGAIN_S: Final = 5.0


class _State(msgspec.Struct):
    messages: int
    last_seq: int


class _Cluster(msgspec.Struct):
    leader: str = ""


class _Stream(msgspec.Struct):
    name: str
    state: _State
    cluster: _Cluster | None = None


class _Account(msgspec.Struct):
    stream_detail: list[_Stream] = []


class _Jsz(msgspec.Struct):
    account_details: list[_Account] = []


class Copy(msgspec.Struct, frozen=True):
    """What a server says of its copy of a journal."""

    messages: int
    last_sequence: int
    has_leader: bool = True
    """As far as this server knows: without one, nobody brings it what it lacks."""


class Lack(msgspec.Struct, frozen=True):
    """A journal's copy from which messages are missing."""

    monitor_url: str
    """Of the server that has it."""
    stream: str
    missing: int

    def __str__(self) -> str:
        """What is wrong, and what cures it."""
        return (
            f"the server at {self.monitor_url} lost {self.missing} messages of {self.stream}, "
            "though it calls itself healthy. As long as the other servers are whole, nothing is "
            "lost: stop it, keep a copy of its store, empty the store, start it again, and it "
            "copies everything from them. Stop or replace no other server before that."
        )


class _Still(msgspec.Struct, frozen=True):
    """A copy that was behind, and how many rounds it has ended in the same place."""

    last_sequence: int
    rounds: int


class Comparison:
    """Holds what all servers say of their copies against each other, round by round. Pure."""

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}
        """By stream, the last sequence that any copy ever had."""
        self._still: dict[tuple[str, str], _Still] = {}
        """By server and stream, the copies that were behind in the last round."""
        self._cut: set[tuple[str, str]] = set()
        """The copies that are known to lack their end."""

    def lacks(self, told: Mapping[str, Mapping[str, Copy]]) -> list[Lack]:
        """What the copies lack that were told of in this round, by server and stream."""
        before, self._still = self._still, {}
        found = []
        for url, copies in told.items():
            for stream, copy in copies.items():
                end = self._missing_at_end((url, stream), copy, before.get((url, stream)))
                if missing := copy.last_sequence - copy.messages + end:
                    found.append(Lack(url, stream, missing))
        for copies in told.values():
            for stream, copy in copies.items():
                self._reached[stream] = max(self._reached.get(stream, 0), copy.last_sequence)
        return found

    def _missing_at_end(self, key: tuple[str, str], copy: Copy, before: _Still | None) -> int:
        """Compared with the rounds before: in this one, others may only have been asked later."""
        missing = self._reached.get(key[1], 0) - copy.last_sequence
        if missing <= 0:
            self._cut.discard(key)
            return 0
        if copy.has_leader:
            rounds = 1
            if before is not None and before.last_sequence == copy.last_sequence:
                rounds += before.rounds
            self._still[key] = _Still(copy.last_sequence, rounds)
            if rounds >= STILL_ROUNDS:
                self._cut.add(key)
        return missing if key in self._cut else 0


async def watch_copies(monitor_urls: str) -> None:
    """Ask each of the monitoring addresses (separated by commas) for ever, and log what is lost.

    Each lack is told once, and its end. A server that does not answer, or does not tell of a
    journal, keeps what was known of it.
    """
    urls = [url.strip() for url in monitor_urls.split(",")]
    comparison, known = Comparison(), dict[tuple[str, str], Lack]()
    while True:
        told = {url: await _told_by(url) for url in urls}
        lacks = {(lack.monitor_url, lack.stream): lack for lack in comparison.lacks(told)}
        for key in lacks.keys() - known.keys():
            _log.error("%s", lacks[key])
        heard = {(url, stream) for url, copies in told.items() for stream in copies}
        still = {key: lack for key, lack in known.items() if key not in heard} | lacks
        for url in {url for url, _ in known} - {url for url, _ in still}:
            _log.warning("the server at %s holds every journal whole again", url)
        known = still
        await asyncio.sleep(_ASKED_AGAIN_S)


async def _told_by(monitor_url: str) -> Mapping[str, Copy]:
    """A server's copies; none if it does not tell."""
    try:
        return await copies_at(monitor_url)
    except (OSError, msgspec.DecodeError) as error:
        _log.debug("%s does not tell of its copies: %s", monitor_url, error)
        return {}


async def copies_at(monitor_url: str) -> dict[str, Copy]:
    """A server's copies of journals, by stream.

    Raise OSError, or DecodeError if it is none of nats-server.
    """
    body = await asyncio.to_thread(fetch, f"{monitor_url.rstrip('/')}/jsz?accounts=1&streams=1")
    return {
        stream.name: Copy(
            stream.state.messages,
            stream.state.last_seq,
            has_leader=stream.cluster is None or bool(stream.cluster.leader),
        )
        for account in msgspec.json.decode(body, type=_Jsz).account_details
        for stream in account.stream_detail
        if stream.name.startswith(JOURNAL_STREAM_PREFIX)
    }
