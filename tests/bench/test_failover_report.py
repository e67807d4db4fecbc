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
    longest_ms = {TRANSFER: 1.0, READ: 70.0, READ_OF_TOLD: 50.0}
    met = {BROKEN: 1, "503": 1}
    assert noticed(waited, "reader", DIED_S) == Kill("reader", longest_ms, met)
    assert noticed(waited, "writer", DIED_S, 0.7) == Kill("writer", longest_ms, met, 700.0)


def test_a_kill_that_nobody_could_notice_is_no_measurement() -> None:
    with pytest.raises(BenchError):
        noticed([each for each in quick(DIED_S) if each.kind != READ], "reader", DIED_S)


def test_the_table_has_the_median_and_the_worst_of_each_victim() -> None:
    def kill(victim: str, longest_ms: float, takeover_ms: float | None, **met: int) -> Kill:
        return Kill(victim, dict.fromkeys(KINDS, longest_ms), met, takeover_ms)

    kills = [
        kill("writer", 3.0, 2.0, broken=1),
        kill("reader", 4.4, None),
        kill("writer", 5.0, 4.0, broken=2),
    ]
    _, reader, writer = failover_table(kills, ["reader", "writer"]).splitlines()
    assert reader.split() == ["reader", "1", *3 * ["4", "/", "4"], "nothing"]
    takeovers, waits = ["3", "/", "4"], ["4", "/", "5"]
    assert writer.split() == ["writer", "2", *takeovers, *3 * waits, "broken:", "3"]
