"""Tables on a terminal."""

from ewallet.command_queries import STATUS_HEADER, status_rows
from ewallet.documents import FollowingReader, LeadingWriter, PartitionStatus
from ewallet.tables import render_table


def test_numbers_stand_right_and_texts_left() -> None:
    table = render_table(("name", "count"), [("a", 1), ("long name", 1000)])
    assert table.splitlines() == [
        "name       count",
        "a              1",
        "long name   1000",
    ]


def test_empty_table_is_its_header_and_nothing_is_a_dash() -> None:
    assert render_table(("a", "b"), []) == "a  b"
    assert render_table(("a", "b"), [(None, "x")]).splitlines()[1] == "-  x"


def test_status_has_a_row_per_reader_and_names_who_is_missing() -> None:
    writer = LeadingWriter(id="w1", epoch=3, sequence=17, in_flight=1)
    readers = [
        FollowingReader(id=name, sequence=17, stored_sequence=16, lag_frames=0)
        for name in ("r1", "r2")
    ]
    led = status_rows(PartitionStatus(partition=0, writer=writer, readers=readers))
    assert led == [
        (0, "w1", 3, 17, 1, "r1", 17, 16, 0),
        (0, "w1", 3, 17, 1, "r2", 17, 16, 0),
    ]
    alone = status_rows(PartitionStatus(partition=1, writer=None, readers=[]))
    assert alone == [(1, "nobody", None, None, None, "nobody", None, None, None)]
    assert all(len(row) == len(STATUS_HEADER) for row in led + alone)
