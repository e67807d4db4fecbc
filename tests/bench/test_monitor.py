"""What is read from nats-server's monitoring."""

from bench.monitor import Counters, journal_frames


def test_only_journals_are_synced() -> None:
    streams = [
        {"name": "EVT_0", "state": {"messages": 5}},
        {"name": "CMD_0", "state": {"messages": 100}},
        {"name": "EVT_c0", "state": {"messages": 7}},
    ]
    jsz = {"account_details": [{"stream_detail": streams}, {"stream_detail": []}]}
    assert journal_frames(jsz) == 12
    assert journal_frames({}) == 0


def test_what_came_in_between_is_the_difference() -> None:
    assert Counters(10, 5).since(Counters(4, 3)) == Counters(6, 2)
