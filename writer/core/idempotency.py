"""Which transfers were decided, for ever: the memory behind `(from_account_id, transaction_id)`.

A record is 29 bytes: 16 of the name's fingerprint, 6 of the deciding event's sequence, 6 of the
content's fingerprint, 1 of the outcome. Records lie in byte strings of about 24, found by
`bytes.find`; the table of byte strings grows one bucket at a time (linear hashing, Litwin 1980), so
there is no pause while millions of ids are moved.

Fingerprints are BLAKE2b under a key that the journal holds and clients don't know. Nobody can
therefore choose ids that fall into one bucket, or two contents that look the same: with a known
key, 2^24 tries would find a pair of 6 bytes, and the second of them would be answered like the
first. Without it each try costs a request and succeeds with 2^-48.
"""

from hashlib import blake2b
from typing import Final, Protocol

from msgspec import Struct

from contracts.rejections import Rejection

FINGERPRINT_KEY_BYTES: Final = 32
NAME_BYTES: Final = 16
_SEQUENCE_BYTES: Final = 6
_CONTENT_BYTES: Final = 6
_OUTCOME_BYTES: Final = 1
RECORD_BYTES: Final = NAME_BYTES + _SEQUENCE_BYTES + _CONTENT_BYTES + _OUTCOME_BYTES

_MOVED: Final = b"\0"
_BUCKET_RECORDS_MEAN: Final = 24


class Decided(Struct, frozen=True):
    """What is remembered of a transfer."""

    first_sequence: int
    content: bytes
    reason: Rejection | None
    """None: its money moved."""


class Contents(Protocol):
    """Whatever says what a transfer is: commands, steps and events."""

    @property
    def from_account_id(self) -> str: ...  # noqa: D102  # as everywhere
    @property
    def to_account_id(self) -> str: ...  # noqa: D102  # as everywhere
    @property
    def amount_minor(self) -> int: ...  # noqa: D102  # as everywhere
    @property
    def currency(self) -> str: ...  # noqa: D102  # as everywhere
    @property
    def transaction_id(self) -> str: ...  # noqa: D102  # as everywhere


class Fingerprints:
    """Fixed-size stand-ins for names and contents. Ids have no spaces, so texts are unambiguous."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == FINGERPRINT_KEY_BYTES
        self.key = key
        # Copying a keyed hash is cheaper than making one.
        self._name_hash = blake2b(key=key, digest_size=NAME_BYTES)
        self._content_hash = blake2b(key=key, digest_size=_CONTENT_BYTES)
        self._newest = ("", b"")
        """The name asked for last, and its fingerprint: who looked it up mostly adds it next."""

    def name(self, from_account_id: str, transaction_id: str) -> bytes:
        """What a transfer is found by."""
        name = f"{from_account_id} {transaction_id}"
        if name != self._newest[0]:
            fingerprint = self._name_hash.copy()
            fingerprint.update(name.encode())
            self._newest = (name, fingerprint.digest())
        return self._newest[1]

    def content(self, to_account_id: str, amount_minor: int, currency: str) -> bytes:
        """What must be the same for a repeat to be the same transfer."""
        fingerprint = self._content_hash.copy()
        fingerprint.update(f"{to_account_id} {amount_minor} {currency}".encode())
        return fingerprint.digest()


class DecidedTransfers:
    """An insert-only map from a name's fingerprint to `Decided`, at about 31 bytes a transfer."""

    def __init__(self) -> None:
        self._buckets: list[bytes] = [b""]
        self._mask = 0
        """2^level - 1, where 2^level <= number of buckets < 2^(level + 1)."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, name: bytes) -> Decided | None:
        """What was remembered under the name's fingerprint."""
        bucket = self._buckets[self._address(name)]
        at = bucket.find(name)
        while at % RECORD_BYTES and at >= 0:  # the bytes of two records may look like a name
            at = bucket.find(name, at + 1)
        if at < 0:
            return None
        after_sequence = at + NAME_BYTES + _SEQUENCE_BYTES
        after_content = after_sequence + _CONTENT_BYTES
        outcome = bucket[after_content]
        return Decided(
            first_sequence=int.from_bytes(bucket[at + NAME_BYTES : after_sequence], "big"),
            content=bucket[after_sequence:after_content],
            reason=Rejection(outcome) if outcome else None,
        )

    def remember(
        self, name: bytes, sequence: int, content: bytes, reason: Rejection | None
    ) -> None:
        """Add a transfer that `find` does not know."""
        outcome = _MOVED if reason is None else bytes((reason,))
        record = name + sequence.to_bytes(_SEQUENCE_BYTES, "big") + content + outcome
        assert len(record) == RECORD_BYTES
        self._buckets[self._address(name)] += record
        self._count += 1
        if self._count > len(self._buckets) * _BUCKET_RECORDS_MEAN:
            self._split()

    def memory_bytes(self) -> int:
        """Bytes of the table and its buckets, as Python counts them."""
        return self._buckets.__sizeof__() + sum(bucket.__sizeof__() for bucket in self._buckets)

    def _address(self, name: bytes) -> int:
        number = int.from_bytes(name[:8], "big")
        wide = number & (self._mask << 1 | 1)
        return wide if wide < len(self._buckets) else number & self._mask

    def _split(self) -> None:
        """Add one bucket and deal the records of its lower twin between the two."""
        upper = len(self._buckets)
        if upper > self._mask << 1 | 1:
            self._mask = self._mask << 1 | 1
        lower = upper & self._mask
        bucket, self._buckets[lower] = self._buckets[lower], b""
        self._buckets.append(b"")
        dealt: dict[int, list[bytes]] = {lower: [], upper: []}
        for at in range(0, len(bucket), RECORD_BYTES):
            record = bucket[at : at + RECORD_BYTES]
            dealt[self._address(record)].append(record)
        for address, records in dealt.items():
            self._buckets[address] = b"".join(records)


class Outcomes:
    """What was decided about transfers, by name, under the key that the first epoch brings."""

    def __init__(self) -> None:
        self.table = DecidedTransfers()
        self.fingerprints: Fingerprints | None = None

    def set_key(self, key: bytes) -> None:
        """Take the key of the journal's first epoch; every later epoch brings the same."""
        if self.fingerprints is None:
            self.fingerprints = Fingerprints(key)

    def find(self, from_account_id: str, transaction_id: str) -> Decided | None:
        """The outcome of a name, None if it has none here."""
        return self.table.find(self._known().name(from_account_id, transaction_id))

    def content(self, of: Contents) -> bytes:
        """What must be the same for a repeat to be the same transfer."""
        return self._known().content(of.to_account_id, of.amount_minor, of.currency)

    def remember(self, of: Contents, sequence: int, reason: Rejection | None) -> None:
        """Add the outcome of a name that has none yet."""
        name = self._known().name(of.from_account_id, of.transaction_id)
        self.table.remember(name, sequence, self.content(of), reason)

    def _known(self) -> Fingerprints:
        assert self.fingerprints is not None, "a journal begins with an epoch"
        return self.fingerprints
