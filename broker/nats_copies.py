"""Whether each server of a cluster holds every message of every journal.

A server whose files were damaged may start without some of what it had stored, get only the newer
messages back from the others, and call itself healthy; should it lead the stream one day, whoever
copies from it lacks them too. Only its monitoring address tells. A journal is never shortened, so
its copy is whole exactly if it begins at 1 and has no gaps.
"""

import asyncio
import http.client
import logging
import urllib.error
import urllib.request
from typing import Final

import msgspec

from contracts.subjects import JOURNAL_STREAM_PREFIX

_log = logging.getLogger(__name__)

_ASKED_AGAIN_S: Final = 5.0
_TIMEOUT_S: Final = 2.0


class _State(msgspec.Struct):
    messages: int
    first_seq: int
    last_seq: int


class _Stream(msgspec.Struct):
    name: str
    state: _State


class _Account(msgspec.Struct):
    stream_detail: list[_Stream] = []


class _Jsz(msgspec.Struct):
    account_details: list[_Account] = []


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


async def watch_copies(monitor_urls: str) -> None:
    """Ask each of the monitoring addresses (separated by commas) for ever, and log what is lost.

    Each lack is told once, and its end. A server that does not answer keeps what was known of it.
    """
    known: dict[str, list[Lack]] = {url.strip(): [] for url in monitor_urls.split(",")}
    while True:
        for url, before in known.items():
            try:
                known[url] = await lacks(url)
            except (OSError, urllib.error.URLError, msgspec.DecodeError) as error:
                _log.debug("%s does not tell of its copies: %s", url, error)
                continue
            streams = {lack.stream for lack in before}
            for lack in known[url]:
                if lack.stream not in streams:
                    _log.error("%s", lack)
            if before and not known[url]:
                _log.warning("the server at %s holds every journal whole again", url)
        await asyncio.sleep(_ASKED_AGAIN_S)


async def lacks(monitor_url: str) -> list[Lack]:
    """What a server's journals lack. Raise OSError, or DecodeError if it is none of nats-server."""
    body = await asyncio.to_thread(_fetch, f"{monitor_url.rstrip('/')}/jsz?accounts=1&streams=1")
    found = []
    for account in msgspec.json.decode(body, type=_Jsz).account_details:
        for stream in account.stream_detail:
            missing = stream.state.last_seq - stream.state.messages
            if stream.name.startswith(JOURNAL_STREAM_PREFIX) and missing:
                found.append(Lack(monitor_url, stream.name, missing))
    return found


def _fetch(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310  # http:// checked
            body: bytes = response.read()
            return body
    except http.client.HTTPException as error:  # as from a server that dies while it answers
        raise OSError(f"{url}: {error!r}") from error
