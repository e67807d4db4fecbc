"""This machine's clock."""

import time


def unix_us() -> int:
    """The present, Unix microseconds."""
    return time.time_ns() // 1_000
