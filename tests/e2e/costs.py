"""What a fault cost the clients of a wallet, and the table of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

HEADINGS = (
    "fault",
    "requests",
    "failed",
    "unknown, then resolved",
    "longest stall",
    "longest read",
    "lost",
)


@dataclass
class Cost:
    """Of one load. A transfer that is repeated is several requests; reads count as requests."""

    requests: int = 0
    failed: int = 0
    """Requests that certainly did nothing: refused with 503, not connected, or timed out."""
    unknown: int = 0
    """Transfers of which at least one request ended without saying what became of it."""
    resolved: int = 0
    """Those whose client knows by now, as it sent them again, and whose record says the same."""
    longest_s: float = 0.0
    """The longest that a client waited for a transfer's outcome, repeats included."""
    longest_read_s: float = 0.0
    lost: int = 0
    """Transfers whose record does not say what their client was told."""
    errors: Counter[str] = field(default_factory=Counter)
    """How requests ended that brought no outcome, or one that the fault caused."""

    def cells(self, fault: str) -> tuple[str, ...]:
        """In the order of HEADINGS."""
        return (
            fault,
            str(self.requests),
            str(self.failed),
            f"{self.unknown}, {self.resolved}",
            f"{self.longest_s:.1f} s",
            f"{self.longest_read_s:.1f} s",
            str(self.lost),
        )


def markdown(costs: Sequence[tuple[str, Cost]]) -> str:
    """A table that can be pasted into a page."""
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(cost.cells(fault) for fault, cost in costs)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def terminal(costs: Sequence[tuple[str, Cost]]) -> list[str]:
    """The same, aligned, with the errors seen."""
    rows = [HEADINGS, *(cost.cells(fault) for fault, cost in costs)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    errors = ["errors", *(_told(cost.errors) for _, cost in costs)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + "  " + told
        for row, told in zip(rows, errors, strict=True)
    ]


def _told(errors: Counter[str]) -> str:
    return ", ".join(f"{error}: {count}" for error, count in sorted(errors.items())) or "none"
