"""Histories of whole wallets in memory, cut at moments, and restored from such cuts."""

from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from random import Random

from contracts.chain import Chained, follow, genesis
from contracts.commands import OpenAccount, Transfer
from contracts.events import (
    Event,
    TransferCompleted,
    TransferFinished,
    TransferRejected,
    TransferRepeated,
)
from contracts.frames import EVENT_FRAME
from contracts.parties import parties, party_name
from contracts.partitioning import SlotMap
from contracts.rejections import NOT_REMEMBERED
from ewallet.backup.cut import Cut
from ewallet.backup.file import BackupWriter, End, Header, Reached
from ewallet.backup.merge import Link, weave
from tests.writer.world import World, shake, transfer
from writer.core.coordination import WAYS
from writer.core.machine import Decision

PARTITIONS = 3

Journals = dict[int, list[bytes]]
Frames = list[tuple[int, bytes]]

HEADER = Header(
    begun_at="2026-01-02T03:04:05+00:00",
    partitions=PARTITIONS,
    slot_map=SlotMap.even(PARTITIONS).encode().decode(),
)


@dataclass
class History(World):
    """A world that remembers in which order the frames of all journals became durable."""

    written: Frames = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)

    def _written(self, party: int, decision: Decision) -> None:
        super()._written(party, decision)
        if decision.data is not None:
            self.written.append((party, decision.data))


def history(seed: int, transfers: int = 40) -> History:
    """Transfers of all ways among accounts of all partitions, with deaths, loss and time."""
    chance = Random(seed)
    world = History(PARTITIONS)
    ids = [world.account(f"a{n}-", n % PARTITIONS) for n in range(2 * PARTITIONS)]
    for account_id in ids:
        world.command(OpenAccount(account_id, "USD", 100))
    ids.append(world.account("nobody-", chance.randrange(PARTITIONS)))
    for number in range(transfers):
        payer, payee = chance.sample(ids, 2)
        way = chance.choice(list(WAYS))
        command = transfer(payer, payee, chance.randint(1, 80), f"t{number}", way)
        world.transfers.append(command)
        world.command(command)
        shake(world, chance, chance.randint(0, 12))
    return world


def tips(
    written: Frames, chance: Random, since: int, partitions: int = PARTITIONS
) -> tuple[Journals, int]:
    """All journals as one sees them who looks at one after the other; and when the last was."""
    at, journals = since, Journals()
    order = parties(partitions)
    chance.shuffle(order)
    for party in order:
        at = min(len(written), at + chance.choice([0, 0, 1, 3, 10]))
        journals[party] = [data for of, data in written[:at] if of == party]
    return journals, at


class MemoryReading:
    """One journal in memory, up to its end."""

    def __init__(self, party: int, frames: list[bytes]) -> None:
        self.party = party
        self.head: Link | None = None
        self._rest = iter(enumerate(frames, 1))
        self._tip = genesis(party)

    async def advance(self) -> None:
        self.head = None
        for number, data in self._rest:
            link = follow(self._tip, data)
            if isinstance(link, Chained):
                self._tip = link.tip
                self.head = Link(link.tip, link.frame, data, number)
                return


async def cut_of(journals: Journals) -> Frames:
    """The frames of the greatest cut in some prefixes of all journals, in its order."""
    readings = [MemoryReading(party, frames) for party, frames in journals.items()]
    return [(party, link.data) async for party, link in weave(readings, Cut())]


def by_party(frames: Frames, partitions: int = PARTITIONS) -> Journals:
    return {party: [data for of, data in frames if of == party] for party in parties(partitions)}


def chained(party: int, frames: list[bytes]) -> list[bytes]:
    """The frames that count."""
    tip, counting = genesis(party), []
    for data in frames:
        link = follow(tip, data)
        if isinstance(link, Chained):
            tip = link.tip
            counting.append(data)
    return counting


def restored(journals: Journals) -> World:
    """A wallet whose parties find these journals, later, and no message under way."""
    world = World(len(journals) - 1)
    world.lose_all()
    world.now_ms = 2_000_000_000_000
    world.journals = {party: list(frames) for party, frames in journals.items()}
    for party in journals:
        world.restart(party)
    return world


def check_goes_on(world: World, transfers: list[Transfer]) -> None:
    """Money is whole; what was unfinished ends; each transfer has its one outcome for ever."""
    world.check_money()
    before = _outcomes(world)
    world.settle()
    world.check_settled()
    after = _outcomes(world)
    assert after.items() >= before.items()
    for command in transfers:
        name = command.from_account_id, command.transaction_id
        if name in after:
            assert world.command(command) == [TransferRepeated(*name, after[name][0])]
    for command in transfers:
        world.command(command)
    world.settle()
    world.check_settled()
    assert not any(_posted(world).values()), "money was made or lost"


def _posted(world: World) -> Counter[str]:
    """The sum of all posted amounts, by currency."""
    sums: Counter[str] = Counter()
    for accounts in (partition.accounts for partition in world.partitions()):
        for currency, posted in zip(accounts.currency, accounts.posted_minor, strict=True):
            sums[currency] += posted
    return sums


def _outcomes(world: World) -> dict[tuple[str, str], tuple[int, object]]:
    """(sequence, reason) of each transfer's outcome."""
    found: dict[tuple[str, str], tuple[int, object]] = {}
    for party in range(world.partition_count):
        for sequence, event in enumerate(world.events(party), 1):
            if _is_outcome(event):
                assert isinstance(event, TransferCompleted | TransferFinished | TransferRejected)
                name = event.from_account_id, event.transaction_id
                assert name not in found, "one outcome"
                found[name] = sequence, getattr(event, "reason", None)
    return found


def _is_outcome(event: Event) -> bool:
    if isinstance(event, TransferRejected):
        return event.reason not in NOT_REMEMBERED
    return isinstance(event, TransferCompleted | TransferFinished)


# --- as files ---


def end_of(frames: Frames, unfinished: int = 1) -> End:
    """What a backup of these frames should say at its end."""
    journals = {}
    for party, journal in by_party(frames).items():
        tip = genesis(party)
        for data in journal:
            link = follow(tip, data)
            tip = link.tip if isinstance(link, Chained) else tip
        journals[party_name(party)] = Reached.of(tip, len(journal))
    return End(journals, unfinished)


def sealed(frames: Frames, end: End | None = None, header: Header = HEADER) -> bytes:
    """A backup file's bytes."""
    file = BytesIO()
    writer = BackupWriter(file, header)
    for party, data in frames:
        writer.add(party, data)
    writer.end(end_of(frames) if end is None else end)
    assert writer.byte_count == len(file.getvalue())
    return file.getvalue()


async def backup_of(written: Frames) -> bytes:
    """A backup file's bytes of the greatest cut in some frames of all journals."""
    frames, cut = await cut_of(by_party(written)), Cut()
    for _, data in frames:
        cut.take(EVENT_FRAME.decode(data))
    return sealed(frames, end_of(frames, cut.unfinished_count))
