"""What the benchmark of snapshots says of a writer's starts."""

from bench.snapshots import Start, recovery


def test_cpu_time_is_told_beside_a_starts_duration_which_it_may_exceed() -> None:
    starts = [Start(3.1, 4.0), Start(3.6, 4.4), Start(3.0, 3.8)]
    assert recovery(starts) == (
        "3.10 s (max 3.60) from the process's start to its reign, "
        "in which its threads use 4.00 s of CPU together"
    )
