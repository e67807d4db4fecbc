"""Backups of simulated wallets, at any moment of runs with faults, are states to go on from."""

import asyncio
from random import Random

import pytest

from contracts.commands import Transfer
from contracts.coordination import Coordination
from contracts.events import TransferCompleted, TransferStarted
from contracts.frames import EVENT_FRAME
from contracts.parties import COORDINATOR, parties
from contracts.subjects import journal_stream
from simulation.processes import PARTITION_COUNT
from simulation.run import run_seed
from simulation.world import Appended
from tests.ewallet.backup_world import by_party, chained, check_goes_on, cut_of, restored, tips

pytestmark = pytest.mark.simulation

STREAMS = {journal_stream(party): party for party in parties(PARTITION_COUNT)}
CUTS = 12


@pytest.mark.parametrize("seed", range(1, 16))
async def test_a_simulated_wallet_goes_on_from_a_backup_of_any_moment(seed: int) -> None:
    written = await asyncio.to_thread(_written, seed)
    chance, transfers = Random(f"{seed} tips"), _transfers(written)
    for _ in range(CUTS):
        before, at = tips(written, chance, chance.randrange(len(written)), PARTITION_COUNT)
        seen, _ = tips(written, chance, at, PARTITION_COUNT)
        kept = by_party(await cut_of(seen), PARTITION_COUNT)
        for party in parties(PARTITION_COUNT):
            durable = chained(party, before[party])
            assert kept[party][: len(durable)] == durable, "all of it when the backup began"
        check_goes_on(restored(kept), transfers)


def _written(seed: int) -> list[tuple[int, bytes]]:
    """What the journals of a run stored, in order, also what does not count."""
    written: list[tuple[int, bytes]] = []

    def note(appended: Appended) -> None:
        if appended.stream in STREAMS:
            written.append((STREAMS[appended.stream], appended.message.data))

    assert run_seed(seed, note).failure is None
    return written


def _transfers(written: list[tuple[int, bytes]]) -> list[Transfer]:
    """Those that were completed at once or started."""
    found: dict[tuple[str, str], Transfer] = {}
    for party, data in written:
        for event in EVENT_FRAME.decode(data).events if party != COORDINATOR else ():
            if isinstance(event, TransferCompleted | TransferStarted):
                way = getattr(event, "coordination", Coordination.CHOREOGRAPHY)
                found[event.from_account_id, event.transaction_id] = Transfer(
                    event.from_account_id,
                    event.to_account_id,
                    event.amount_minor,
                    event.currency,
                    event.transaction_id,
                    way,
                )
    return list(found.values())
