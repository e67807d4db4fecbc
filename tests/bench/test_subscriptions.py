"""The parts of the benchmark of subscriptions that need no wallet."""

import json

from bench.subscribers import Counts, percentile, sent_ns, split_frames
from bench.subscriptions import Throughput, Watching, show
from proxy.adapters.live_websocket import websocket_frame


def test_a_transfers_id_says_when_it_was_sent() -> None:
    assert sent_ns("123456789-17") == 123_456_789


def test_percentiles_of_few_and_of_none() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_frames_are_split_wherever_they_are_cut() -> None:
    """They are those that the proxy makes."""
    messages = [b"short", b"x" * 125, b"y" * 126, b"z" * 3_000]
    data = b"".join(map(websocket_frame, messages))
    for cut in range(len(data)):
        frames, rest = split_frames(data[:cut])
        more, end = split_frames(rest + data[cut:])
        assert [content for _, content in frames + more] == messages
        assert end == b""


def test_what_was_heard_is_reported() -> None:
    counts = Counts()
    counts.ages_ms.extend([1.0, 2.0, 9.0])
    report = json.loads(counts.report())
    assert (report["changes"], report["p50_ms"], report["max_ms"]) == (3, 2.0, 9.0)
    counts.begin()
    assert json.loads(counts.report())["changes"] == 0


def test_the_share_is_that_of_rounds_and_not_of_medians() -> None:
    """A slow minute of the machine touches both sides of a round."""
    throughput = Throughput(without=[100.0, 50.0, 80.0], with_idle=[99.0, 49.0, 88.0], faults=0)
    assert throughput.share == 0.99
    watching = Watching(10, 1.0, 20_480.0, 100.0, 0, 19, 1, 1.0, 2.0, 3.0, 0)
    text = show(watching, throughput)
    assert "20.0 KiB" in text
    assert "1 of 20 missing" in text
    assert "99.0%" in text
