"""A witness remembers the newest durable frame, and never goes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.witness import (
    Witness,
    WitnessContradicted,
    WitnessDamaged,
    Witnessed,
    read_witness,
    witness_path,
    witness_paths,
)
from contracts.parties import COORDINATOR


def frame(sequence: int) -> Witnessed:
    return Witnessed(sequence, sequence.to_bytes(32, "big"), sequence + 100)


def keep(path: Path, *sequences: int) -> None:
    witness = Witness(path)
    for sequence in sequences:
        witness.record(*frame(sequence))
    witness.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return witness_path(tmp_path, 3, "writer")


def test_a_file_that_does_not_exist_has_witnessed_nothing(path: Path) -> None:
    assert read_witness(path) is None


def test_a_new_file_has_witnessed_nothing(path: Path) -> None:
    keep(path)
    assert path.exists()
    assert read_witness(path) is None


@pytest.mark.parametrize("count", range(1, 6))
def test_the_newest_frame_is_remembered(path: Path, count: int) -> None:
    keep(path, *range(1, count + 1))
    assert read_witness(path) == frame(count)


def test_it_goes_on_where_it_was_left(path: Path) -> None:
    for sequence in range(1, 6):
        keep(path, sequence)
        assert read_witness(path) == frame(sequence)


def test_a_journal_read_again_from_its_beginning_changes_nothing(path: Path) -> None:
    keep(path, 1, 5, 9)
    before = path.read_bytes()
    keep(path, 1, 5, 9)
    assert path.read_bytes() == before


def test_another_frame_at_the_newest_sequence_is_a_contradiction(path: Path) -> None:
    keep(path, 9)
    witness = Witness(path)
    with pytest.raises(WitnessContradicted, match="at sequence 9"):
        witness.record(9, bytes(32), 7)
    witness.close()
    assert read_witness(path) == frame(9)


@pytest.mark.parametrize("last", [7, 8])
def test_a_torn_write_leaves_the_frame_before(path: Path, last: int) -> None:
    """Whatever part of the newest slot reached the disk."""
    keep(path, *range(1, last))
    before = path.read_bytes()
    keep(path, last)
    after = path.read_bytes()
    changed = [at for at in range(len(after)) if before[at] != after[at]]
    for cut in range(changed[0] + 1, changed[-1] + 1):
        path.write_bytes(after[:cut] + before[cut:])
        assert read_witness(path) == frame(last - 1)


def test_a_flipped_bit_is_never_taken_for_a_frame(path: Path) -> None:
    """One slot with a flipped bit leaves the other; both with one leave an error."""
    keep(path, 1, 2)
    intact = path.read_bytes()
    half = len(intact) // 2
    for at in range(half):
        damaged = bytearray(intact)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        assert read_witness(path) in {frame(1), frame(2)}
        damaged[at + half] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(WitnessDamaged, match="is damaged"):
            read_witness(path)
        with pytest.raises(WitnessDamaged):
            Witness(path)


@pytest.mark.parametrize("size", [0, 1, 80, 159, 161])
def test_a_file_of_another_size_is_damaged(path: Path, size: int) -> None:
    keep(path, 1, 2)
    path.write_bytes((path.read_bytes() + b"x")[:size])
    with pytest.raises(WitnessDamaged, match=f"{size} bytes"):
        read_witness(path)


def test_a_write_after_a_damaged_slot_replaces_that_slot(path: Path) -> None:
    keep(path, 1, 2)
    intact = path.read_bytes()
    path.write_bytes(bytes([intact[0] ^ 1]) + intact[1:])
    left = read_witness(path)
    keep(path, 3)
    assert read_witness(path) == frame(3)
    damaged = path.read_bytes()
    path.write_bytes(bytes([damaged[0] ^ 1]) + damaged[1:])
    assert read_witness(path) == left


def test_what_was_recorded_survives_kill_9(path: Path) -> None:
    """No sync, no close: the write itself is enough against the death of the process."""
    program = (
        "import sys, pathlib; from broker.witness import Witness\n"
        "witness = Witness(pathlib.Path(sys.argv[1]))\n"
        "for n in range(1, 1001): witness.record(n, n.to_bytes(32, 'big'), n + 100)\n"
        "print('recorded', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"recorded\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert read_witness(path) == frame(1000)


def test_each_partition_and_keeper_has_its_own_file(tmp_path: Path) -> None:
    for partition in (1, 11):
        for keeper in ("writer", "reader"):
            keep(witness_path(tmp_path, partition, keeper), 5)
    assert witness_paths(tmp_path, 1) == [
        witness_path(tmp_path, 1, "reader"),
        witness_path(tmp_path, 1, "writer"),
    ]


def test_the_coordinator_has_witness_files_of_its_own(tmp_path: Path) -> None:
    """A partition's files are not taken for the coordinator's, nor the other way round."""
    coordinators = witness_path(tmp_path, COORDINATOR, "writer")
    assert coordinators.name == "c0-writer.witness"
    partitions = witness_path(tmp_path, 0, "writer")
    keep(coordinators, 5)
    keep(partitions, 5)
    assert witness_paths(tmp_path, COORDINATOR) == [coordinators]
    assert witness_paths(tmp_path, 0) == [partitions]
