"""Where work runs that must not hold up the event loop."""

from concurrent.futures import Executor

from msgspec import Struct


class Threads(Struct, frozen=True):
    """The executors of one reader, for all its partitions together."""

    writing: Executor
    """Each partition writes one group at a time."""
    past: Executor
    """One thread, unless the store's readings may be used by several."""
    names: Executor | None
    """Where names are looked up; None: in place, on the event loop."""
