"""Imported before nats-py by a service that serves no HTTP: its start takes a third less.

nats-py imports aiohttp where it can, for WebSocket connections to servers, which nobody makes here.
What a start takes of the cores, those miss that stand in for the dead process meanwhile.
"""

import sys

sys.modules["aiohttp"] = None  # type: ignore[assignment]  # Python's way to say: not to be had
