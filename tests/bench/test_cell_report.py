"""The cells: their order, their medians and what their ratios compare with."""

from bench.cell_report import cases, cell_row, disturbance, percent, summarise_cells
from bench.cells import NO_WAY, SHARES_PERCENT, WAYS, Block, CellMeasurement, blocks
from bench.settings import Settings


def measured(
    way: str, share_percent: int, round_number: int, speed: float, **counts: int
) -> CellMeasurement:
    return CellMeasurement(
        distribution="hot",
        connections=64,
        way=way,
        share_percent=share_percent,
        round=round_number,
        transfers_per_second=speed,
        p50_ms=1,
        p99_ms=2,
        max_ms=speed / 100,
        sent=1_000,
        refused={"insufficient_funds": counts.get("refused", 0)},
        timed_out=counts.get("timed_out", 0),
        faults=0,
        first_fault="",
        messages=1,
        fsyncs=0.5,
        cpu_us_per_transfer={"writer": 60.0, "reader": 20.0, "wrk": 5.0, "elsewhere": 15.0},
        drain_seconds=0.1,
    )


def test_a_block_has_every_way_at_every_share_between_two_bases() -> None:
    cells = Block(1, "hot", 64).cells()
    assert cells[0] == cells[-1] == (NO_WAY, 0)
    assert sorted(cells[1:-1]) == sorted((way, share) for way in WAYS for share in SHARES_PERCENT)


def test_each_round_begins_with_another_way() -> None:
    firsts = [Block(number, "hot", 64).cells()[1][0] for number in range(1, 6)]
    assert firsts == [*WAYS, WAYS[0]]


def test_a_round_has_both_distributions_at_all_connections_and_one_client_alone() -> None:
    (*loaded, alone) = blocks(Settings(rounds=1, connections=(8, 16)))
    assert [(block.distribution, block.connections) for block in loaded] == [
        ("uniform", 8),
        ("uniform", 16),
        ("hot", 8),
        ("hot", 16),
    ]
    assert alone.connections == 1


def test_the_ratio_compares_with_the_mean_of_both_bases_of_the_block() -> None:
    """A machine that is half as fast in one round changes no ratio."""
    base, tcc = summarise_cells(
        [
            measured(NO_WAY, 0, 1, 1_100),
            measured("tcc", 50, 1, 500),
            measured(NO_WAY, 0, 1, 900),
            measured(NO_WAY, 0, 2, 550),
            measured("tcc", 50, 2, 250),
            measured(NO_WAY, 0, 2, 450),
        ]
    )
    assert (tcc.ratio, tcc.transfers_per_second) == (0.5, 375)
    assert (tcc.slowest, tcc.fastest, tcc.max_ms) == (250, 500, 5)
    assert base.ratio == 1


def test_refused_and_timed_out_are_percent_of_what_was_sent() -> None:
    _, tcc = summarise_cells(
        [measured(NO_WAY, 0, 1, 1_000), measured("tcc", 50, 1, 500, refused=5, timed_out=20)]
    )
    assert cell_row(tcc)[7:9] == ("0.50 %", "2.00 %")


def test_nothing_does_not_look_like_very_little() -> None:
    assert (percent(0), percent(0.001)) == ("0", "0.00 %")


def test_cells_are_shown_by_distribution_and_connections() -> None:
    summaries = summarise_cells([measured(NO_WAY, 0, 1, 10), measured("2pc", 10, 1, 5)])
    assert {case: [one.way for one in each] for case, each in cases(summaries).items()} == {
        ("hot", 64): [NO_WAY, "2pc"]
    }


def test_the_wallets_cpu_time_is_that_of_its_own_processes() -> None:
    (base,) = summarise_cells([measured(NO_WAY, 0, 1, 10)])
    assert base.cpu_us == 80
    assert disturbance([measured(NO_WAY, 0, 1, 10)]) == 0.15
