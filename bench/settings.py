"""What one run of the benchmark does, from `BENCH_*` variables."""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


class BenchError(Exception):
    """The run can't go on or its figures would be worthless; the text says why and what to do."""


@dataclass(frozen=True)
class Settings:
    """`folder` holds the data of the systems under load: it should be on a real disk.

    `peer_connections` is the peer's pool; with 16 it did 5,630 transfers/s on a quiet machine.
    """

    seconds: int = 8
    warmup_seconds: int = 3
    rounds: int = 3
    accounts: int = 10_000
    connections: tuple[int, ...] = (1, 64, 256)
    partitions: tuple[int, ...] = (1, 4)
    peer: bool = True
    peer_connections: int = 16
    folder: Path | None = None
    results: Path = Path("bench/results")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.replace(",", " ").split())


_READERS: dict[str, Callable[[str], Any]] = {
    "seconds": int,
    "warmup_seconds": int,
    "rounds": int,
    "accounts": int,
    "connections": _numbers,
    "partitions": _numbers,
    "peer": lambda text: text not in {"", "0", "no", "none"},
    "peer_connections": int,
    "folder": Path,
    "results": Path,
}


def take_no_arguments(about: str | None) -> None:
    """Answer `--help` with what a program is about, and refuse all other arguments."""
    argparse.ArgumentParser(
        description=about,
        epilog="Settings are variables of the environment: see bench/README.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()


def read_settings(
    environment: Mapping[str, str] = os.environ, *, default: Settings | None = None
) -> Settings:
    """Read `BENCH_SECONDS=8`, `BENCH_CONNECTIONS=1,64,256` and so on; the rest stays default."""
    values: dict[str, Any] = {}
    for name, read in _READERS.items():
        text = environment.get(f"BENCH_{name.upper()}")
        if text is None:
            continue
        try:
            values[name] = read(text)
        except ValueError as error:
            raise BenchError(f"BENCH_{name.upper()}={text!r} is not understood") from error
    settings = replace(default or Settings(), **values)
    if settings.seconds < 1 or settings.rounds < 1 or settings.accounts < 2:
        raise BenchError("BENCH_SECONDS and BENCH_ROUNDS start at 1, BENCH_ACCOUNTS at 2")
    if not settings.connections:
        raise BenchError("BENCH_CONNECTIONS names no number of connections")
    return settings
