"""The open stores of all partitions of a reader, and how they come about in files."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from msgspec import Struct

from reader.adapters.store_sqlite import SqliteReadStore
from reader.ports import ReadStore


class OpenStores(Struct, frozen=True):
    """A reader's stores, and how they are to be used."""

    by_partition: dict[int, ReadStore]
    names: dict[int, str]
    """By partition, for the operator."""
    writing_threads: int
    """How many partitions may write at a time."""
    reading_threads: int
    """How many threads may read the past at a time."""
    is_remote: bool
    """Whether a look-up takes too long to be made on the event loop."""


@contextmanager
def sqlite_stores(paths: Mapping[int, Path]) -> Iterator[OpenStores]:
    """Stores in files. Raise StoreUnfit or StoreFault."""
    with ExitStack() as stack:
        stores: dict[int, ReadStore] = {
            number: stack.enter_context(closing(SqliteReadStore(path, number)))
            for number, path in paths.items()
        }
        names = {number: str(path) for number, path in paths.items()}
        yield OpenStores(
            stores, names, writing_threads=len(stores), reading_threads=1, is_remote=False
        )
