"""The writer's settings: what is taken, and what is refused with a sentence."""

import pytest

from runtime.process import Unfit
from writer.config import SNAPSHOT_RULE_DEFAULT, SnapshotRule, read_writer_settings

LEAST = {"EWALLET_PARTITIONS": "1"}


def rule(**settings: str) -> SnapshotRule:
    return read_writer_settings(LEAST | settings).snapshots


def test_when_snapshots_are_due_can_be_set() -> None:
    assert rule() == SNAPSHOT_RULE_DEFAULT
    assert rule(EWALLET_SNAPSHOT_EVENTS="", EWALLET_SNAPSHOT_S="") == SNAPSHOT_RULE_DEFAULT
    set_all = rule(
        EWALLET_SNAPSHOT_EVENTS="1", EWALLET_SNAPSHOT_FRAMES="2", EWALLET_SNAPSHOT_S="86400"
    )
    assert set_all == SnapshotRule(events=1, frames=2, seconds=86_400)


def test_a_writer_has_a_name_that_can_be_a_files() -> None:
    assert read_writer_settings(LEAST).name == "writer"
    assert read_writer_settings(LEAST | {"EWALLET_WRITER_NAME": "w-2"}).name == "w-2"
    with pytest.raises(Unfit, match="EWALLET_WRITER_NAME must match"):
        read_writer_settings(LEAST | {"EWALLET_WRITER_NAME": "../x"})


@pytest.mark.parametrize(
    "name", ["EWALLET_SNAPSHOT_EVENTS", "EWALLET_SNAPSHOT_FRAMES", "EWALLET_SNAPSHOT_S"]
)
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "1_0", "9999999999999"])
def test_a_bad_value_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(Unfit, match=f"{name} must be a whole number from 1 to"):
        rule(**{name: value})
