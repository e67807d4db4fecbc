"""Who takes part in transfers: partitions, and the coordinator that some ways need.

Each has a number, a queue of its own and a journal of its own. Partitions are numbered from 0.
"""

from typing import Final

from contracts.limits import PARTITION_COUNT_MAX

COORDINATOR: Final = PARTITION_COUNT_MAX
"""The coordinator's number: behind those that partitions can have."""


def party_name(party: int) -> str:
    """How a party is called in subjects, streams and file names: "0", "1", … or "c0"."""
    return str(party) if party < COORDINATOR else f"c{party - COORDINATOR}"


def parties(partition_count: int) -> list[int]:
    """All parties of a wallet: its partitions and the coordinator."""
    return [*range(partition_count), COORDINATOR]


def party_title(party: int) -> str:
    """How a party is called in sentences."""
    return f"Partition {party}" if party < COORDINATOR else f"Coordinator {party_name(party)}"
