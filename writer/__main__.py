"""`python -m writer`: one writer process."""

import sys

# nats-py imports it where it can, for WebSocket connections to servers, which nobody makes here. It
# would take a fifth of a second of every start, and of every recovery.
sys.modules["aiohttp"] = None  # type: ignore[assignment]  # Python's way to say: not to be had

from runtime.process import run_service  # noqa: E402
from writer.bootstrap import serve  # noqa: E402

if __name__ == "__main__":
    run_service("writer", serve)
