"""What everybody said while clients waited for longer than a fault explains."""

from pathlib import Path

from tests.e2e.cluster import Cluster
from tests.e2e.load import PacedBank

UNEXPLAINED_S = 5.0
"""A longer stall is worth a look: what is promised after a NATS server died is no longer one."""


def has_unexplained_stall(bank: PacedBank) -> bool:
    """Whether anybody waited so long in the present load."""
    return max(bank.cost.longest_s, bank.cost.longest_read_s) > UNEXPLAINED_S


def keep_logs(cluster: Cluster, bank: PacedBank, fault: str, stem: Path) -> Path:
    """Write down who waited in the present load, from when to when, and what every service said.

    The file that is returned is `stem` with the Unix time when the load began and `.log` behind it.
    """
    began = bank.began
    path = stem.with_suffix(f".{began.unix_s:.0f}.log")
    waited = [
        f"{each.name} to {each.payee}: asked {each.at.asked_s - began.monotonic_s:.1f} s after the"
        f" load began, told {each.at.length_s:.1f} s later: {each.told}"
        for each in bank.history.transfers.values()
        if each.at.asked_s >= began.monotonic_s and each.at.length_s > 1
    ]
    said = cluster.logs_since(began.unix_s)
    path.write_text("\n".join([f"{fault}; load begun at {began.unix_s:.3f}", *waited, said]))
    return path
