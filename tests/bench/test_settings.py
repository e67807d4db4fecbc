"""Settings of a run, from the environment."""

from pathlib import Path

import pytest

from bench.settings import BenchError, Settings, read_settings


def test_nothing_set_means_the_defaults() -> None:
    assert read_settings({}) == Settings()


def test_every_setting_can_be_set() -> None:
    environment = {
        "BENCH_SECONDS": "2",
        "BENCH_WARMUP_SECONDS": "1",
        "BENCH_ROUNDS": "1",
        "BENCH_ACCOUNTS": "100",
        "BENCH_CONNECTIONS": "1, 8",
        "BENCH_PARTITIONS": "",
        "BENCH_PEER": "no",
        "BENCH_PEER_CONNECTIONS": "16",
        "BENCH_FOLDER": "/data",
        "BENCH_RESULTS": "/results",
    }
    assert read_settings(environment) == Settings(
        seconds=2,
        warmup_seconds=1,
        rounds=1,
        accounts=100,
        connections=(1, 8),
        partitions=(),
        peer=False,
        peer_connections=16,
        folder=Path("/data"),
        results=Path("/results"),
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BENCH_SECONDS", "ten"),
        ("BENCH_ROUNDS", "0"),
        ("BENCH_CONNECTIONS", "1;2"),
        ("BENCH_CONNECTIONS", ""),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, text: str) -> None:
    with pytest.raises(BenchError, match=name):
        read_settings({name: text})
