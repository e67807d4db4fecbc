"""Only a whole, undamaged backup of a state that a wallet was in can be restored."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts.chain import MadeByAnotherVersion
from contracts.parties import COORDINATOR
from contracts.partitioning import SlotMap
from ewallet.backup.checking import check
from ewallet.backup.cut import Cut
from ewallet.backup.file import Backup, NotABackup
from tests.ewallet.backup_world import (
    HEADER,
    PARTITIONS,
    Frames,
    History,
    by_party,
    cut_of,
    end_of,
    sealed,
)
from tests.writer.world import opened, transfer


@pytest.fixture
async def frames() -> Frames:
    """All journals of a wallet with a finished transfer and one under way, in a cut's order."""
    world = History(PARTITIONS)
    ids = opened(world, alice=0, bob=1)
    world.command(transfer(ids["alice"], ids["bob"], 30, "t1"))
    world.settle()
    world.command(transfer(ids["bob"], ids["alice"], 10, "t2"))
    return await cut_of(by_party(world.written))


@pytest.fixture
def why(tmp_path: Path) -> Callable[[bytes], str | None]:
    """Why bytes are no backup to restore; None if they are."""

    def tried(data: bytes) -> str | None:
        path = tmp_path / "a.backup"
        path.write_bytes(data)
        try:
            check(Backup(path))
        except NotABackup as reason:
            return str(reason)
        return None

    return tried


Why = Callable[[bytes], str | None]


async def test_a_whole_backup_gives_back_every_frame(frames: Frames, tmp_path: Path) -> None:
    path = tmp_path / "a.backup"
    path.write_bytes(sealed(frames))
    backup = Backup(path)
    assert backup.header == HEADER
    assert backup.slots == SlotMap.even(PARTITIONS)
    assert list(backup.frames()) == [*frames, end_of(frames)]
    places = check(backup)
    journals = by_party(frames)
    assert {party: place.frames for party, place in places.items()} == {
        party: len(journal) for party, journal in journals.items()
    }


async def test_a_flipped_bit_in_any_byte_is_found(frames: Frames, why: Why) -> None:
    whole = sealed(frames)
    assert why(whole) is None
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        assert why(bytes(damaged)) is not None, at


async def test_every_cut_is_found_and_so_is_what_was_added(frames: Frames, why: Why) -> None:
    whole = sealed(frames)
    for length in range(len(whole)):
        assert why(whole[:length]) is not None, length
    assert why(whole + b"\0") is not None


async def test_another_version_is_named(frames: Frames, why: Why) -> None:
    reason = why(sealed(frames).replace(b"backup 1\n", b"backup 2\n", 1))
    assert reason is not None
    assert "version 2, and this program reads 1" in reason
    assert why(b"PK\3\4 an archive") == "it is no backup of a wallet"


async def test_a_sealed_file_of_other_frames_is_no_backup(frames: Frames, why: Why) -> None:
    """A right checksum says only that the file is as it was written."""
    begins = frames[-1]
    without_one = [frame for frame in frames if frame is not frames[5]]
    turned = list(reversed(frames))
    stranger = [*frames, (PARTITIONS, begins[1])]
    cases = {
        "a frame is missing": sealed(without_one, end_of(frames)),
        "another order": sealed(turned, end_of(frames)),
        "a frame twice": sealed([*frames, begins]),
        "another wallet's party": sealed(stranger, end_of(frames)),
        "an end of fewer": sealed(frames, end_of(frames[:-1])),
        "an end of more": sealed(frames[:-1], end_of(frames)),
        "other unfinished": sealed(frames, end_of(frames, 2)),
        "no frames but an end of some": sealed([], end_of(frames)),
        "another number of partitions": sealed(frames, header=replace(HEADER, partitions=4)),
        "no slot map": sealed(frames, header=replace(HEADER, slot_map="{}")),
    }
    assert [case for case, data in cases.items() if why(data) is None] == []


async def test_frames_that_are_no_consistent_cut_are_refused(frames: Frames, why: Why) -> None:
    """Each journal chains; the payer's lacks what the payee's follows from."""
    journals = by_party(frames)
    payer = [(0, data) for data in journals[0][:2]]  # its epoch and account
    others = [(party, data) for party in (1, 2, COORDINATOR) for data in journals[party]]
    reason = why(sealed([*payer, *others], end_of([*payer, *others])))
    assert reason is not None
    assert "lacks its start" in reason


async def test_frames_of_a_later_version_say_so(frames: Frames, tmp_path: Path) -> None:
    path = tmp_path / "a.backup"
    tip = bytes.fromhex(end_of(frames).journals["0"].hash)
    unknown = b"\x01" + bytes((0x93, 1, 99, 0xC4, len(tip))) + tip
    path.write_bytes(sealed([*frames, (0, unknown)], end_of(frames)))
    with pytest.raises(MadeByAnotherVersion, match="Run the version that wrote it"):
        check(Backup(path))


async def test_an_empty_cut_is_a_backup(why: Why) -> None:
    assert Cut().unfinished_count == 0
    assert why(sealed([], end_of([], 0))) is None
