"""Putting the journals of a checked backup into an empty broker.

Until the slot map is there, which comes last, no service works on what is not whole yet. So a
restore that was interrupted is gone on with: what is there already is read back with the rest.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final

from broker.nats_broker import NatsBroker
from broker.nats_streams import NO_SUCH_STREAM
from broker.port import Broker, BrokerFault
from contracts.parties import parties, party_title
from contracts.subjects import journal_stream, journal_subject
from ewallet.backup.checking import Place
from ewallet.backup.file import Backup, End
from ewallet.backup.taking import last_sequence, read_journals
from runtime.process import Unfit

APPEND_TIMEOUT_S: Final = 30.0
"""For _IN_FLIGHT_MAX appends in a row on a slow disk: nobody waits for a restore to fail over."""
_IN_FLIGHT_MAX: Final = 256
_IN_FLIGHT_BYTES_MAX: Final = 8 * 1_024 * 1_024


async def restore_into(broker: NatsBroker, backup: Backup, places: Mapping[int, Place]) -> None:
    """Store all journals of a backup, read them back, and let services in.

    places: where the journals end, as `check` found. Raise Unfit or BrokerUnfit if the broker holds
    anything else, BrokerFault if it failed on the way: then the same call goes on.
    """
    partitions = backup.header.partitions
    await _check_empty(broker, backup)
    await broker.provide_streams(partitions)
    filling = _Filling(broker, {party: await last_sequence(broker, party) for party in places})
    for item in backup.frames():
        if not isinstance(item, End):
            await filling.append(*item)
    await filling.finish()
    for party, place in places.items():
        await _check_stored(broker, party, place)
    await broker.end_restore(backup.slots)


async def _check_empty(broker: NatsBroker, backup: Backup) -> None:
    """Note the restore where the slot map will stand; refuse what is not empty. Raise Unfit."""
    seal = backup.seal.hex()
    noted = await broker.noted_restore()
    if noted == seal:
        return  # it was interrupted
    if noted is not None:
        raise Unfit(
            "The broker holds a part of another backup, whose restore was interrupted. Go on with"
            " that one, or make the servers empty. Nothing was changed."
        )
    for party in parties(backup.header.partitions):
        answer = await broker.api(f"STREAM.INFO.{journal_stream(party)}")
        error = answer.get("error")
        if error is not None and error.get("err_code") != NO_SUCH_STREAM:
            raise BrokerFault(
                f"It is not known whether the broker is empty: {error.get('description')}"
            )
        if answer.get("state", {}).get("last_seq", 0):
            raise Unfit(
                f"The broker is not empty: it holds the journal of {party_title(party)}. Nothing"
                " was changed. Restore into empty servers."
            )
    await broker.begin_restore(seal)


class _Filling:
    """Appends, many in flight, in their order; what a journal holds already is skipped."""

    def __init__(self, broker: Broker, held: Mapping[int, int]) -> None:
        self._broker = broker
        self._held = held
        """Stream sequences that are there from a restore before."""
        self._sent = dict.fromkeys(held, 0)
        self._open: deque[tuple[asyncio.Future[int], int]] = deque()
        self._open_bytes = 0

    async def append(self, party: int, data: bytes) -> None:
        """Send the next frame of a journal. Raise BrokerFault."""
        before = self._sent[party]
        self._sent[party] = before + 1
        if before < self._held[party]:
            return
        future = await self._broker.append(
            journal_subject(party), data, expected_last_sequence=before
        )
        self._open.append((future, len(data)))
        self._open_bytes += len(data)
        while len(self._open) >= _IN_FLIGHT_MAX or self._open_bytes >= _IN_FLIGHT_BYTES_MAX:
            await self._settle()

    async def finish(self) -> None:
        """Return when all is durable. Raise BrokerFault."""
        while self._open:
            await self._settle()

    async def _settle(self) -> None:
        future, byte_count = self._open.popleft()
        self._open_bytes -= byte_count
        await future


async def _check_stored(broker: Broker, party: int, place: Place) -> None:
    """Read a journal back: nothing but the frames of the backup may be in it. Raise Unfit."""
    length = await last_sequence(broker, party)
    (reading,) = await read_journals(broker, [party])
    await reading.advance()
    while reading.head is not None:
        await reading.advance()
    if (reading.tip, reading.frames, length) != (place.tip, place.frames, place.frames):
        raise Unfit(
            f"{party_title(party)}: the journal that was stored is not that of the backup: it has"
            f" {length} messages and reaches sequence {reading.tip.sequence}, and should have"
            f" {place.frames} and reach {place.tip.sequence}. No service will start on it. Make"
            " the servers empty and restore again."
        )
