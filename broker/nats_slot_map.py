"""The slot map in the key-value bucket `WALLET`: read from the leader, made once.

A bucket is a stream whose subjects are its keys (ADR-8 of NATS). It is spoken to here by the
stream's own API, so that a service needs the permission to read or make this one key only.
"""

import base64
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from broker.nats_streams import (
    NO_MESSAGE,
    NO_SUCH_STREAM,
    WRONG_LAST_SEQUENCE,
    JetStreamApi,
    provide_stream,
)
from broker.port import BrokerFault, BrokerUnfit
from contracts.partitioning import NotASlotMap, SlotMap
from contracts.subjects import SLOT_MAP_SUBJECT, WALLET_STREAM, WALLET_SUBJECTS

EXPECTED_LAST_OF_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence"
_RESTORING: Final = b"restoring "
"""What stands in the place of the map while a backup is restored; the backup's seal follows."""


class Request(Protocol):
    """A request with headers; gives the answer's bytes. Raise NoResponse."""

    async def __call__(self, subject: str, data: bytes, *, headers: Mapping[str, str]) -> bytes:
        """Wait as long as for any other answer of the server."""
        ...


def bucket_config(replicas: int) -> dict[str, Any]:
    """A bucket that keeps the last value of each key for ever, on disk."""
    return {
        "name": WALLET_STREAM,
        "subjects": [WALLET_SUBJECTS],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs_per_subject": 1,
        "num_replicas": replicas,
        "allow_direct": False,  # a direct read may be stale
        "deny_delete": True,
        "deny_purge": True,
    }


async def provide_slot_map(
    api: JetStreamApi, request: Request, wanted: SlotMap, replicas: int = 1
) -> SlotMap:
    """See the port."""
    await provide_stream(api, bucket_config(replicas))
    found = await _stored(api)
    if found is None:
        await _create(request, wanted)
        found = await _stored(api)  # ours, or that of who was faster
    if found is None:
        raise BrokerFault("The slot map was made and is not there.")
    if found.partition_count != wanted.partition_count:
        raise BrokerUnfit(
            f"The slot map belongs to a wallet of {found.partition_count} partitions, not "
            f"{wanted.partition_count}. The number is fixed when a wallet is made: set "
            f"EWALLET_PARTITIONS={found.partition_count}, or use another server or data folder."
        )
    return found


async def read_slot_map(api: JetStreamApi) -> SlotMap:
    """See the port."""
    found = await _stored(api)
    if found is None:
        raise BrokerFault("There is no slot map yet: the writer makes it.")
    return found


async def noted_restore(api: JetStreamApi) -> str | None:
    """The seal of the backup that is being restored; None if nothing stands in the map's place.

    Raise BrokerUnfit if there is a map.
    """
    found = await _value(api)
    if found is None:
        return None
    if not found[0].startswith(_RESTORING):
        raise BrokerUnfit(
            "The broker is not empty: it holds the slot map of a wallet. Nothing was changed."
            " Restore into empty servers."
        )
    return found[0].removeprefix(_RESTORING).decode("ascii", "replace")


async def begin_restore(api: JetStreamApi, request: Request, seal: str, replicas: int = 1) -> None:
    """Put a note in the place of the map, so that no service takes up work.

    Raise BrokerUnfit if something stands there by now.
    """
    await provide_stream(api, bucket_config(replicas))
    await _put(request, _RESTORING + seal.encode(), 0)
    if await noted_restore(api) != seal:
        raise BrokerUnfit("Another restore into this broker has just begun.")


async def end_restore(api: JetStreamApi, request: Request, slots: SlotMap) -> None:
    """Put the map in the place of the note: from now on services may work.

    Raise BrokerUnfit if something else stands there.
    """
    found = await _value(api)
    if found is None or not found[0].startswith(_RESTORING):
        raise BrokerUnfit("The note that a restore is under way is gone: another process ended it.")
    await _put(request, slots.encode(), found[1])
    if await _stored(api) != slots:
        raise BrokerUnfit("Another slot map than the backup's was stored meanwhile.")


async def _stored(api: JetStreamApi) -> SlotMap | None:
    """What the bucket holds, None if there is no bucket or nothing in it."""
    found = await _value(api)
    if found is None:
        return None
    data, _ = found
    if data.startswith(_RESTORING):
        raise BrokerUnfit(
            "A backup is being restored into this broker, and a part of it is missing yet. Wait for"
            " `ewallet restore`; if it was interrupted, run it again with the same file."
        )
    try:
        return SlotMap.decode(data)
    except NotASlotMap as damage:
        raise BrokerUnfit(
            f"The slot map (key `slot-map` of the bucket `WALLET`) is damaged: {damage}. Nobody "
            "may guess where accounts live: restore it from a copy of the server's store."
        ) from damage


async def _value(api: JetStreamApi) -> tuple[bytes, int] | None:
    """The key's value and its revision."""
    answer = await api(f"STREAM.MSG.GET.{WALLET_STREAM}", {"last_by_subj": SLOT_MAP_SUBJECT})
    error = answer.get("error")
    if error is not None:
        if error.get("err_code") in (NO_MESSAGE, NO_SUCH_STREAM):
            return None
        raise BrokerFault(f"The slot map can't be read now: {error.get('description')}")
    message = answer["message"]
    return base64.b64decode(message.get("data", "")), int(message["seq"])


async def _create(request: Request, wanted: SlotMap) -> None:
    """Store the map unless there is one: of several who try, one succeeds."""
    await _put(request, wanted.encode(), 0)


async def _put(request: Request, data: bytes, expected_revision: int) -> None:
    """Store the value if the present one has the revision, 0: if there is none."""
    answer = await request(
        SLOT_MAP_SUBJECT, data, headers={EXPECTED_LAST_OF_SUBJECT: str(expected_revision)}
    )
    error = msgspec.json.decode(answer).get("error")
    if error is not None and error.get("err_code") != WRONG_LAST_SEQUENCE:
        raise BrokerFault(f"The slot map can't be stored now: {error.get('description')}")
