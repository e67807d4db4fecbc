"""Which transfers were decided, for ever: the memory behind `(from_account_id, transaction_id)`.

A record is 29 bytes: 16 of the name's fingerprint, 6 of the deciding event's sequence, 6 of the
content's fingerprint, 1 of the outcome. Records lie in byte strings of about 24, found by
`bytes.find`; the table of byte strings grows one bucket at a time (linear hashing, Litwin 1980), so
there is no pause while millions of ids are moved.

Fingerprints are BLAKE2b under a key that the journal holds and clients don't know. Nobody can
therefore choose ids that fall into one bucket, or two contents that look the same: with a known
key, 2^24 tries would find a pair of 6 bytes, and the second of them would be answered like the
first. Without it each try costs a request and succeeds with 2^-48.

Buckets lie in pages. A snapshot takes the list of pages; who changes a page that a snapshot has
taken changes a copy of it (copy on write), so ten million records are frozen at once.
"""

import struct
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain
from typing import Final, Protocol

from msgspec import Struct

from contracts.rejections import Rejection
from writer.core.blocks import Decoder, Thaw, encoded

FINGERPRINT_KEY_BYTES: Final = 32
NAME_BYTES: Final = 16
_SEQUENCE_BYTES: Final = 6
_CONTENT_BYTES: Final = 6
_OUTCOME_BYTES: Final = 1
RECORD_BYTES: Final = NAME_BYTES + _SEQUENCE_BYTES + _CONTENT_BYTES + _OUTCOME_BYTES

_ADDRESS_BYTES: Final = 8
"""Of a name: more than there will ever be buckets for."""
_MOVED: Final = b"\0"
_BUCKET_RECORDS_MEAN: Final = 24
_PAGE_BITS: Final = 9
_PAGE_BUCKETS: Final = 1 << _PAGE_BITS
_PAGE_MASK: Final = _PAGE_BUCKETS - 1


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
        self._pages: list[list[bytes]] = [[b""]]
        """Of _PAGE_BUCKETS buckets, but for the last."""
        self._shared = bytearray(1)
        """For each page, whether a snapshot may have it."""
        self._bucket_count = 1
        self._mask = 0
        """2^level - 1, where 2^level < number of buckets <= 2^(level + 1), or one bucket."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, name: bytes) -> Decided | None:
        """What was remembered under the name's fingerprint."""
        address = self._address(name)
        bucket = self._pages[address >> _PAGE_BITS][address & _PAGE_MASK]
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
        address = self._address(name)
        if self._shared[address >> _PAGE_BITS]:
            self._own_page(address)
        self._pages[address >> _PAGE_BITS][address & _PAGE_MASK] += record
        self._count += 1
        if self._count > self._bucket_count * _BUCKET_RECORDS_MEAN:
            self._split()

    def memory_bytes(self) -> int:
        """Bytes of the table and its buckets, as Python counts them."""
        pages = sum(page.__sizeof__() for page in self._pages)
        buckets = sum(bucket.__sizeof__() for page in self._pages for bucket in page)
        return self._pages.__sizeof__() + pages + buckets

    def _address(self, name: bytes) -> int:
        number = int.from_bytes(name[:_ADDRESS_BYTES], "big")
        wide = number & (self._mask << 1 | 1)
        return wide if wide < self._bucket_count else number & self._mask

    def _own_page(self, address: int) -> list[bytes]:
        """The page of a bucket, to be changed: no snapshot has it."""
        number = address >> _PAGE_BITS
        if self._shared[number]:
            self._pages[number] = self._pages[number].copy()
            self._shared[number] = 0
        return self._pages[number]

    def _split(self) -> None:
        """Add one bucket and deal the records of its lower twin between the two."""
        upper = self._bucket_count
        if upper > self._mask << 1 | 1:
            self._mask = self._mask << 1 | 1
        lower = upper & self._mask
        bucket = self._own_page(lower)[lower & _PAGE_MASK]
        self._add_bucket()
        # Of the numbers whose other bits are those of the lower one, this bit tells the two apart.
        level = (upper - lower).bit_length() - 1
        place, bit = _ADDRESS_BYTES - 1 - level // 8, 1 << level % 8
        staying: list[bytes] = []
        leaving: list[bytes] = []
        for at in range(0, len(bucket), RECORD_BYTES):
            record = bucket[at : at + RECORD_BYTES]
            (leaving if record[place] & bit else staying).append(record)
        self._own_page(lower)[lower & _PAGE_MASK] = b"".join(staying)
        self._own_page(upper)[upper & _PAGE_MASK] = b"".join(leaving)

    def _add_bucket(self) -> None:
        if not self._bucket_count & _PAGE_MASK:
            self._pages.append([])
            self._shared.append(0)
        self._own_page(self._bucket_count).append(b"")
        self._bucket_count += 1

    # --- snapshots ---

    def freeze(self) -> Iterator[bytes]:
        """See Rules."""
        self._shared = bytearray(b"\1" * len(self._pages))
        return _blocks(self._count, self._pages[::-1])

    def thaw(self) -> Thaw:
        """See Rules."""
        extent = _EXTENT.read((yield))
        self._pages.clear()
        for _ in range(extent.pages):
            self._pages.append(_buckets_of(_PAGE.read((yield))))
        self._shared = bytearray(extent.pages)
        self._bucket_count = sum(map(len, self._pages))
        self._count = extent.records
        level = (self._bucket_count - 1).bit_length() - 1
        self._mask = (1 << level) - 1 if self._bucket_count > 1 else 0


class _Extent(Struct, frozen=True, array_like=True):
    """How much a table holds."""

    records: int
    pages: int


class _Page(Struct, frozen=True, array_like=True):
    """One page: how many records each bucket has, 32 bits each, and all records in order."""

    counts: bytes
    records: memoryview
    """Read where they lie in their block."""


_EXTENT: Final = Decoder(_Extent)
_PAGE: Final = Decoder(_Page)


def _blocks(count: int, last_page_first: list[list[bytes]]) -> Iterator[bytes]:
    """The table as blocks. What is done is let go page by page, not all at the end."""
    yield encoded(_Extent(count, len(last_page_first)))
    while last_page_first:
        page = last_page_first.pop()
        counts = array("I", [len(bucket) // RECORD_BYTES for bucket in page])
        yield encoded(_Page(counts.tobytes(), memoryview(b"".join(page))))


def _buckets_of(page: _Page) -> list[bytes]:
    sizes = [count * RECORD_BYTES for count in array("I", page.counts)]
    return list(struct.Struct("%ds" * len(sizes) % tuple(sizes)).unpack(page.records))


class _Key(Struct, frozen=True, array_like=True):
    key: bytes | None


_KEY: Final = Decoder(_Key)


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

    def freeze(self) -> Iterator[bytes]:
        """See Rules."""
        key = None if self.fingerprints is None else self.fingerprints.key
        return chain([encoded(_Key(key))], self.table.freeze())

    def thaw(self) -> Thaw:
        """See Rules."""
        key = _KEY.read((yield)).key
        if key is not None:
            self.set_key(key)
        yield from self.table.thaw()

    def _known(self) -> Fingerprints:
        assert self.fingerprints is not None, "a journal begins with an epoch"
        return self.fingerprints
