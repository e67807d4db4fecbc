"""What counts as noticed of a kill, and the table of all."""

import pytest

from bench.failover_clients import BROKEN, KINDS, READ, READ_OF_TOLD, TRANSFER, Waited
from bench.failover_report import AFTER_S, Kill, failover_table, noticed
from bench.settings import BenchError

DIED_S = 100.0


def quick(at_s: float) -> list[Waited]:
    """One of each kind, in a millisecond."""
    return [Waited(kind, at_s, at_s + 0.001) for kind in KINDS]


def test_the_longest_of_each_kind_counts_of_what_was_under_way_or_came_soon() -> None:
    waited = [
        *quick(DIED_S + 1),
        Waited(TRANSFER, DIED_S - 5, DIED_S - 0.001),  # over by then
        Waited(READ, DIED_S - 0.01, DIED_S + 0.06),
        Waited(READ_OF_TOLD, DIED_S + 1, DIED_S + 1.05, (BROKEN, "503")),
        Waited(READ_OF_TOLD, DIED_S + AFTER_S, DIED_S + AFTER_S + 9),  # long after
    ]
    kill = noticed(waited, "reader", DIED_S)
    assert kill == Kill(
        "reader", {TRANSFER: 1.0, READ: 70.0, READ_OF_TOLD: 50.0}, {BROKEN: 1, "503": 1}
    )


def test_a_kill_that_nobody_could_notice_is_no_measurement() -> None:
    with pytest.raises(BenchError):
        noticed([each for each in quick(DIED_S) if each.kind != READ], "reader", DIED_S)


def test_the_table_has_the_median_and_the_worst_of_each_victim() -> None:
    def kill(victim: str, longest_ms: float, **met: int) -> Kill:
        return Kill(victim, dict.fromkeys(KINDS, longest_ms), met)

    kills = [kill("proxy", 3.0, broken=1), kill("reader", 4.4), kill("proxy", 5.0, broken=2)]
    _, reader, proxy = failover_table(kills, ["reader", "proxy"]).splitlines()
    assert reader.split() == ["reader", "1", *3 * ["4", "/", "4"], "nothing"]
    assert proxy.split() == ["proxy", "2", *3 * ["4", "/", "5"], "broken:", "3"]
