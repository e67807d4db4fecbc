"""Snapshots in the object bucket `SNAPSHOTS`, block by block.

The bucket is an object store of NATS as its ADR-20 describes it, so `nats object` lists and reads
it: an object is the messages on one subject, in order, and a description under its name, which is
stored last. The protocol is spoken here because nats-py's own `get` takes quadratic time over
hundreds of megabytes, waits for ever for a chunk that is missing, and never gives up on a server.
"""

import asyncio
import base64
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing
from hashlib import sha256
from typing import Any, Final

import msgspec

from broker.nats_slot_map import Request
from broker.nats_streams import NO_MESSAGE, NO_SUCH_STREAM, JetStreamApi
from broker.port import BrokerFault, Following, SnapshotDamaged, StoredMessage
from contracts.limits import FRAME_BYTES_MAX
from contracts.parties import party_name
from contracts.subjects import (
    SNAPSHOT_CHUNKS,
    SNAPSHOT_METAS,
    SNAPSHOTS_BUCKET,
    SNAPSHOTS_STREAM,
)

_ASKED_AFTER_S: Final = 0.2
"""No chunk for so long: the stream's leader is asked whether it can read another one. A consumer
leaves out what it can't read, though the server counts it, and says nothing."""
_STALL_S_MAX: Final = 5.0
"""How long a chunk that the server can read may take. Recovery goes on without this snapshot then,
to the older one or to the next fault of the connection."""
_REPLACE_OTHERS: Final = {"Nats-Rollup": "sub"}

Follow = Callable[[str, str], Awaitable[Following]]
"""Reads a stream's messages of one subject from the beginning."""


class _Options(msgspec.Struct, frozen=True):
    max_chunk_size: int = FRAME_BYTES_MAX


class _Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object as its bucket describes it."""

    name: str
    bucket: str
    nuid: str
    """Last token of the subject of its chunks."""
    size: int
    chunks: int
    digest: str = ""
    options: _Options = _Options()
    deleted: bool = False


_DECODER: Final = msgspec.json.Decoder(_Description)


class NatsSnapshots:
    """All snapshots in one server's bucket."""

    def __init__(self, api: JetStreamApi, request: Request, follow: Follow) -> None:
        self._api = api
        self._request = request
        self._follow = follow

    async def put(self, party: int, sequence: int, blocks: AsyncIterator[bytes]) -> None:
        """See the port. Until the description is stored, the chunks belong to nothing."""
        token = f"{party_name(party)}-{sequence}-{secrets.token_hex(8)}"
        digest, size, count = sha256(), 0, 0
        async for block in blocks:
            await self._store(f"{SNAPSHOT_CHUNKS}.{token}", block, {})
            digest.update(block)
            size, count = size + len(block), count + 1
        description = _Description(
            name=_name(party, sequence),
            bucket=SNAPSHOTS_BUCKET,
            nuid=token,
            size=size,
            chunks=count,
            digest=f"SHA-256={base64.urlsafe_b64encode(digest.digest()).decode()}",
        )
        data = msgspec.json.encode(description)
        await self._store(_meta_subject(party, sequence), data, _REPLACE_OTHERS)

    async def sequences(self, party: int) -> list[int]:
        """See the port."""
        names = map(_decoded_name, await self._subjects(f"{SNAPSHOT_METAS}.>"))
        of_party = (name.partition("/")[2] for name in names if name.startswith(_name(party, "")))
        return sorted((int(each) for each in of_party if each.isdecimal()), reverse=True)

    async def get(self, party: int, sequence: int) -> AsyncGenerator[bytes, None]:
        """See the port."""
        described = await self._described(party, sequence)
        subject = f"{SNAPSHOT_CHUNKS}.{described.nuid}"
        found = (await self._subjects(subject)).get(subject, 0)
        if found != described.chunks:
            raise SnapshotDamaged(f"it has {found} of {described.chunks} chunks")
        size = 0
        async with aclosing(self._chunks(subject, found)) as chunks:
            async for block in chunks:
                size += len(block)
                yield block
        if size != described.size:
            raise SnapshotDamaged(f"it has {size} of {described.size} bytes")

    async def prune(self, party: int, *, below: int, kept: Collection[int]) -> None:
        """See the port. Descriptions go first: nobody must find one without its chunks."""
        used = set()
        for sequence in await self.sequences(party):
            if sequence < below and sequence not in kept:
                await self._purge(_meta_subject(party, sequence))
            else:
                used.add(await self._token(party, sequence))
        for subject in await self._subjects(f"{SNAPSHOT_CHUNKS}.>"):
            token = subject.rpartition(".")[2]
            if token not in used and _is_below(token, party, below):
                await self._purge(subject)

    async def _token(self, party: int, sequence: int) -> str:
        try:
            return (await self._described(party, sequence)).nuid
        except SnapshotDamaged:
            return ""

    async def _described(self, party: int, sequence: int) -> _Description:
        body = {"last_by_subj": _meta_subject(party, sequence)}
        answer = await self._api(f"STREAM.MSG.GET.{SNAPSHOTS_STREAM}", body)
        if answer.get("error", {}).get("err_code") == NO_MESSAGE:
            raise SnapshotDamaged("it was deleted")
        data = _checked(answer)["message"].get("data", "")
        try:
            described = _DECODER.decode(base64.b64decode(data))
        except msgspec.DecodeError as error:
            raise SnapshotDamaged(f"its description can't be read: {error}") from error
        if described.deleted or not described.nuid:
            raise SnapshotDamaged("it was deleted")
        return described

    async def _chunks(self, subject: str, count: int) -> AsyncGenerator[bytes, None]:
        got = read = 0
        following = await self._follow(SNAPSHOTS_STREAM, subject)
        try:
            messages = aiter(following)
            while got < count:
                some = await _arrived(messages, _ASKED_AFTER_S)
                if not some:
                    if await self._is_at_its_end(subject, read, count):
                        lack = f"only {got} of {count} chunks came"
                        raise SnapshotDamaged(f"{lack}, and the server can read no more")
                    messages = aiter(following)  # the wait that was given up has ended the other
                    some = await _arrived(messages, _STALL_S_MAX)
                if not some:
                    lack = f"only {got} of {count} chunks came, and none in {_STALL_S_MAX} s"
                    raise SnapshotDamaged(lack)
                got, read = got + len(some), some[-1].sequence
                for message in some:
                    yield message.data
        finally:
            await following.close()

    async def _is_at_its_end(self, subject: str, read: int, count: int) -> bool:
        """Whether the stream's leader counts all chunks, and can read none behind a sequence.

        One that counts fewer has just begun to lead, and is still to get them. One that can't be
        asked says nothing of the chunks: they may come when it can be.
        """
        body = {"next_by_subj": subject, "seq": read + 1}
        try:
            answer = await self._api(f"STREAM.MSG.GET.{SNAPSHOTS_STREAM}", body)
            has_none = answer.get("error", {}).get("err_code") == NO_MESSAGE
            return has_none and (await self._subjects(subject)).get(subject, 0) == count
        except BrokerFault:
            return False

    async def _subjects(self, pattern: str) -> dict[str, int]:
        """The subjects that hold messages, and how many; none if somebody deleted the bucket."""
        answer = await self._api(f"STREAM.INFO.{SNAPSHOTS_STREAM}", {"subjects_filter": pattern})
        if answer.get("error", {}).get("err_code") == NO_SUCH_STREAM:
            return {}
        return _checked(answer)["state"].get("subjects") or {}

    async def _store(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        _checked(msgspec.json.decode(await self._request(subject, data, headers=headers)))

    async def _purge(self, subject: str) -> None:
        _checked(await self._api(f"STREAM.PURGE.{SNAPSHOTS_STREAM}", {"filter": subject}))


async def _arrived(
    messages: AsyncIterator[list[StoredMessage]], wait_s: float
) -> list[StoredMessage]:
    """What comes next; nothing if it takes longer."""
    try:
        async with asyncio.timeout(wait_s):
            return await anext(messages)
    except TimeoutError:
        return []


def _checked(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise BrokerFault(f"Bucket {SNAPSHOTS_BUCKET}: {answer['error'].get('description')}")
    return answer


def _name(party: int, sequence: int | str) -> str:
    """How an object is called."""
    return f"{party_name(party)}/{sequence}"


def _meta_subject(party: int, sequence: int) -> str:
    name = base64.urlsafe_b64encode(_name(party, sequence).encode()).decode()
    return f"{SNAPSHOT_METAS}.{name}"


def _decoded_name(meta_subject: str) -> str:
    """The object's name; nothing of ours for a subject that nobody here made."""
    try:
        return base64.urlsafe_b64decode(meta_subject.rpartition(".")[2]).decode()
    except ValueError:
        return ""


def _is_below(token: str, party: int, sequence: int) -> bool:
    """Whether chunks were put for a party's snapshot below a sequence: "<party>-<sequence>-…"."""
    owner, _, rest = token.partition("-")
    at = rest.partition("-")[0]
    return owner == party_name(party) and at.isdecimal() and int(at) < sequence
