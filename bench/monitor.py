"""What nats-server counted: messages that it was sent, and frames in the journals."""

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

JOURNAL_PREFIX = "EVT_"
POLL_SECONDS = 0.05
QUIET_SECONDS = 0.25
DRAIN_SECONDS_MAX = 30.0


@dataclass(frozen=True)
class Counters:
    """Since the server started.

    `messages` are those that its clients sent: frames, pushes, requests, acknowledgements.
    `fsyncs` are the messages stored in journals: with `sync_interval: always` a stream of one
    replica syncs each by itself. Queues are in memory and sync nothing.
    """

    messages: int
    fsyncs: int

    def since(self, before: "Counters") -> "Counters":
        """Return what came in between."""
        return Counters(self.messages - before.messages, self.fsyncs - before.fsyncs)


def read_counters(monitor_url: str) -> Counters:
    """Ask the monitoring port, which costs the server no message."""
    return Counters(
        messages=int(_ask(f"{monitor_url}/varz")["in_msgs"]),
        fsyncs=journal_frames(_ask(f"{monitor_url}/jsz?streams=1")),
    )


def journal_frames(jsz: dict[str, Any]) -> int:
    """Count the messages of all journals in an answer of `/jsz?streams=1`."""
    streams = [
        stream
        for account in jsz.get("account_details", [])
        for stream in account.get("stream_detail", [])
    ]
    return sum(
        int(stream["state"]["messages"])
        for stream in streams
        if stream["name"].startswith(JOURNAL_PREFIX)
    )


def settle(monitor_url: str) -> tuple[Counters, float]:
    """Return the counters once the journals are quiet, and the seconds until they were.

    What was under way when a load ended is then part of the count. DRAIN_SECONDS_MAX at most.
    """
    started = last_change = time.monotonic()
    counters = read_counters(monitor_url)
    while (now := time.monotonic()) - last_change < QUIET_SECONDS:
        time.sleep(POLL_SECONDS)
        newer = read_counters(monitor_url)
        if newer.fsyncs != counters.fsyncs:
            last_change = time.monotonic()
        counters = newer
        if now - started > DRAIN_SECONDS_MAX:
            break
    return counters, round(last_change - started, 2)


def _ask(url: str) -> dict[str, Any]:
    with urlopen(url, timeout=5) as answer:  # noqa: S310 - the wallet's own server, on loopback
        document: dict[str, Any] = json.load(answer)
    return document
