"""What goes into the document, and the plots beside it."""

from xml.etree import ElementTree as ET

import pytest

from bench.cell_report import CellSummary
from bench.cells import NO_WAY, SHARES_PERCENT, WAYS
from bench.death_report import DeathSummary, death_row, waiting_row
from bench.document import DOCUMENT, cells_plot, death_plot, markdown, replaced
from bench.plot import tick_step
from bench.settings import BenchError

SVG = "{http://www.w3.org/2000/svg}"


def cell(way: str, share_percent: int, connections: int = 64) -> CellSummary:
    return CellSummary(
        distribution="hot",
        connections=connections,
        way=way,
        share_percent=share_percent,
        transfers_per_second=1_000 - share_percent,
        slowest=1,
        fastest=1,
        ratio=1,
        p50_ms=1,
        p99_ms=1,
        max_ms=1,
        refused_percent=0,
        timed_out_percent=0,
        faults=0,
        messages=1,
        fsyncs=1,
        cpu_us=1,
        drain_seconds=0,
    )


def death(way: str) -> DeathSummary:
    return DeathSummary(
        way=way,
        near_p50_ms=1,
        near_p99_ms=2,
        far_p50_ms=3,
        far_p99_ms=4,
        held=64,
        unfinished=30,
        locked=8,
        finished_s=0.5,
        silence_s=0.4,
        longest_near_s=0.6,
        longest_far_s=0.7,
        half_speed_s=None,
        timeline=[10.0] * 50,
    )


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    text = "before\n<!-- a -->\n\nold\n\n<!-- /a -->\nafter\n"
    assert replaced(text, "a", "new") == text.replace("old", "new")
    assert replaced(replaced(text, "a", "new"), "a", "old") == text


def test_a_missing_marker_is_an_error() -> None:
    with pytest.raises(BenchError, match="<!-- b -->"):
        replaced("<!-- b -->", "b", "new")


def test_the_document_has_a_place_for_everything() -> None:
    text = DOCUMENT.read_text()
    for name in ("machine", "cells", "waiting", "death"):
        assert replaced(text, name, "x") != text


def test_a_markdown_table_has_a_rule_below_its_head() -> None:
    assert markdown(("a", "b"), [("c", "1")]) == "| a | b |\n| --- | ---: |\n| c | 1 |"


def test_within_one_partition_nothing_is_said_of_transfers_between_them() -> None:
    assert waiting_row(death(NO_WAY)) == ("-", "1.0", "2.0", "", "")
    assert death_row(death(NO_WAY))[2:5] == ("", "", "")
    assert death_row(death("2pc"))[1:4] == ("64", "30", "8")


def test_the_plot_has_a_bar_for_every_cell_but_those_of_a_client_alone() -> None:
    cells = [cell(NO_WAY, 0)] + [cell(way, share) for share in SHARES_PERCENT for way in WAYS]
    drawn = ET.fromstring(cells_plot([*cells, cell(NO_WAY, 0, connections=1)]))  # noqa: S314 - our own text
    assert len(drawn.findall(f".//{SVG}rect/{SVG}title")) == len(cells)


def test_the_plot_of_a_death_has_a_line_for_every_way() -> None:
    drawn = ET.fromstring(death_plot([death(way) for way in (NO_WAY, *WAYS)]))  # noqa: S314 - our own text
    assert len(drawn.findall(f".//{SVG}polyline")) == 1 + len(WAYS)


@pytest.mark.parametrize(
    ("top", "step"), [(0, 0.1), (0.5, 0.1), (9, 2), (10, 2), (12_500, 5_000), (9_999, 2_000)]
)
def test_ticks_are_round_and_few(top: float, step: float) -> None:
    assert tick_step(top) == pytest.approx(step)
