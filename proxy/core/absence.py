"""How long nobody has taken a partition's commands, as far as the proxy has noticed.

    taken ─▶ absent        a command was offered, and no queue took it
      ▲        │
      └────────┘           a queue took one

While a queue is absent, commands are offered and not just sent, so that each is known to be taken
or not. Time goes in as `now_ms`.
"""

from contracts.limits import ABSENCE_MS_MAX


class Absence:
    """That of one partition's queue."""

    __slots__ = ("_since_ms",)

    def __init__(self) -> None:
        self._since_ms: int | None = None

    @property
    def is_noticed(self) -> bool:
        """Whether the queue took nothing the last time it was asked."""
        return self._since_ms is not None

    def not_taken(self, now_ms: int) -> bool:
        """Note it; whether it has lasted longer than a failover takes."""
        if self._since_ms is None:
            self._since_ms = now_ms
        return now_ms - self._since_ms >= ABSENCE_MS_MAX

    def taken(self) -> None:
        """Note that the queue is back."""
        self._since_ms = None
