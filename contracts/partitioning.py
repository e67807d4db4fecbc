"""Which partition an account lives in: CRC16 hash slots, as Redis Cluster counts them.

Slots are dealt to partitions in contiguous, even ranges.
Source: Redis Cluster specification, "Key distribution model" (CRC16-CCITT, XMODEM variant).
"""

from binascii import crc_hqx

from contracts.limits import SLOT_COUNT


def slot_of(account_id: str) -> int:
    """The hash slot (0 … 16,383) of an account id. `crc_hqx` is the XMODEM CRC16."""
    return crc_hqx(account_id.encode(), 0) % SLOT_COUNT


def partition_of(account_id: str, partition_count: int) -> int:
    """The partition (0 … partition_count - 1) whose writer owns the account."""
    return slot_of(account_id) * partition_count // SLOT_COUNT
