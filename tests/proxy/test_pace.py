"""The pace of the wallet: differences of what processes count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.status import ProxyStatus
from proxy.core.pace import LATENCY_BOUNDS_US, Pace, PaceMeter


def status(name: str, pace: Pace) -> ProxyStatus:
    return ProxyStatus(name, pace.completed, pace.refused, list(pace.latency_counts))


def test_what_happened_between_two_looks_is_told_of_all_processes_together() -> None:
    paces, meter = [Pace(), Pace()], PaceMeter()
    paces[0].note(1_000_000, is_completed=True)  # before the first look
    assert meter.look([status("a", paces[0]), status("b", paces[1])], 1_000) is None
    for _ in range(30):
        paces[0].note(900, is_completed=True)
    for _ in range(10):
        paces[1].note(60_000, is_completed=False)
    shown = meter.look([status("a", paces[0]), status("b", paces[1])], 3_000)
    assert shown == {
        "interval_ms": 2_000,
        "proxies": 2,
        "completed_per_s": 15.0,
        "refused_per_s": 5.0,
        "latency_p50_ms": 1.0,
        "latency_p99_ms": 64.0,
    }
    idle = meter.look([status("a", paces[0]), status("b", paces[1])], 4_000)
    assert idle is not None
    assert (idle["completed_per_s"], idle["latency_p50_ms"]) == (0.0, None)


def test_a_process_that_is_new_counts_from_its_first_look_on() -> None:
    meter, old, new = PaceMeter(), Pace(), Pace()
    meter.look([status("old", old)], 1_000)
    new.note(900, is_completed=True)
    first = meter.look([status("old", old), status("new", new)], 2_000)
    assert first is not None
    assert (first["proxies"], first["completed_per_s"]) == (1, 0.0)
    new.note(900, is_completed=True)
    second = meter.look([status("new", new)], 3_000)
    assert second is not None
    assert (second["proxies"], second["completed_per_s"]) == (1, 1.0)


def test_a_process_of_another_version_is_left_out() -> None:
    meter, strange = PaceMeter(), ProxyStatus("strange", 1, 1, [1, 1])
    ours = status("ours", Pace())
    meter.look([ours, strange], 1_000)
    shown = meter.look([ours, strange], 2_000)
    assert shown is not None
    assert shown["proxies"] == 1


@given(st.lists(st.integers(0, 200_000_000), min_size=1))
def test_half_of_the_latencies_are_within_the_median(elapsed_us: list[int]) -> None:
    pace, meter = Pace(), PaceMeter()
    meter.look([status("a", pace)], 0)
    for each in elapsed_us:
        pace.note(each, is_completed=True)
    shown = meter.look([status("a", pace)], 1_000)
    assert shown is not None
    median_ms = shown["latency_p50_ms"]
    assert median_ms is not None
    most_ms = LATENCY_BOUNDS_US[-1] / 1_000
    within = [each for each in elapsed_us if each / 1_000 <= median_ms]
    assert median_ms == most_ms or len(within) * 2 >= len(elapsed_us)
    below = [each for each in elapsed_us if each / 1_000 < median_ms / 1.2]
    assert median_ms == LATENCY_BOUNDS_US[0] / 1_000 or len(below) * 2 <= len(elapsed_us)
