"""What happened in a run, line by line in virtual time: told only when something is wrong."""

import logging
from collections.abc import Callable
from typing import Final

_LINES_MAX: Final = 20_000


class Story:
    """Collects lines; the oldest are forgotten when there are too many."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lines: list[str] = []

    def tell(self, line: str) -> None:
        """Add what happened just now."""
        self._lines.append(f"{self._now_s():10.4f} {line}")
        if len(self._lines) > _LINES_MAX:
            del self._lines[: _LINES_MAX // 2]

    def about(self, words: list[str], *, last: int) -> list[str]:
        """The last lines of all, and before them those in which all words occur."""
        start = max(0, len(self._lines) - last)
        early = [line for line in self._lines[:start] if words and all(w in line for w in words)]
        return [*early, "…", *self._lines[start:]]


class StoryHandler(logging.Handler):
    """Puts the services' own log into the story."""

    def __init__(self, story: Story) -> None:
        super().__init__(logging.WARNING)
        self._story = story

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        trace = f" {record.exc_info[1]!r}" if record.exc_info else ""
        self._story.tell(f"log: {record.getMessage()}{trace}")
