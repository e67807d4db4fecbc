"""The report: medians over rounds, ratios within a round, aligned tables."""

from bench.measurement import Measurement
from bench.report import disturbance, speed_table, summarise, table


def measured(subject: str, round_number: int, speed: float, **cpu: float) -> Measurement:
    return Measurement(
        subject=subject,
        connections=64,
        round=round_number,
        transfers_per_second=speed,
        p50_ms=speed / 1000,
        p99_ms=speed / 100,
        cpu_us_per_transfer=cpu,
        processes={},
    )


def test_a_case_is_the_median_of_its_rounds() -> None:
    rounds = [measured("wallet", 1, 900), measured("wallet", 2, 100), measured("wallet", 3, 500)]
    (case,) = summarise(rounds, None)
    assert case.transfers_per_second == 500
    assert (case.slowest, case.fastest) == (100, 900)
    assert (case.p50_ms, case.p99_ms) == (0.5, 5.0)
    assert case.ratio is None


def test_the_ratio_compares_within_a_round() -> None:
    """A machine that is half as fast in one round changes no ratio."""
    rounds = [
        measured("wallet", 1, 10_000),
        measured("peer", 1, 5_000),
        measured("wallet", 2, 4_000),
        measured("peer", 2, 2_000),
        measured("wallet", 3, 9_000),
        measured("peer", 3, 3_000),
    ]
    wallet, peer = summarise(rounds, "peer")
    assert wallet.ratio == 2.0
    assert peer.ratio is None


def test_a_group_that_is_missing_in_a_round_used_nothing_there() -> None:
    rounds = [
        measured("wallet", 1, 1, writer=10.0),
        measured("wallet", 2, 1),
        measured("wallet", 3, 1),
    ]
    (case,) = summarise(rounds, None)
    assert case.cpu_us_per_transfer == {"writer": 0.0}


def test_the_disturbance_is_that_of_the_worst_case() -> None:
    rounds = [
        measured("wallet", 1, 1, writer=90.0, elsewhere=10.0),
        measured("peer", 1, 1, web=60.0, elsewhere=40.0),
    ]
    assert disturbance(summarise(rounds, "peer")) == 0.4


def test_the_speed_table_shows_medians_and_the_ratio() -> None:
    rounds = [measured("wallet", 1, 12_000), measured("peer", 1, 5_000)]
    assert speed_table(summarise(rounds, "peer")).splitlines() == [
        "system  connections  transfers/s        (min - max)  p50 ms  p99 ms  ratio",
        "wallet           64       12,000  (12,000 - 12,000)   12.00  120.00   2.40",
        "peer             64        5,000    (5,000 - 5,000)    5.00   50.00",
    ]


def test_a_table_aligns_names_left_and_figures_right() -> None:
    assert table(("a", "b"), [("long", "1"), ("x", "1000")]).splitlines() == [
        "a        b",
        "long     1",
        "x     1000",
    ]
