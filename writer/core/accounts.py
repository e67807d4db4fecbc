"""The accounts of one partition, a column per attribute, a row per account.

Owns what an account is and how an amount is posted. Knows nothing of commands, events or time.
"""

from array import array
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from contracts.limits import AMOUNT_MINOR_MAX, FRAME_BYTES_MAX, ID_LENGTH_MAX
from writer.core.blocks import Decoder, Thaw, encoded

_ROWS_OF_BLOCK: Final = 2_048
"""With the longest ids there are, a block stays below the largest message."""
assert _ROWS_OF_BLOCK * (4 * (ID_LENGTH_MAX + 4) + 64) <= FRAME_BYTES_MAX, (
    "an id's character may take 4 bytes"
)


class _Extent(Struct, frozen=True, array_like=True):
    """How many accounts follow."""

    count: int


class _Rows(Struct, frozen=True, array_like=True):
    """Some accounts in the order of their rows; the columns are bytes of their arrays."""

    account_ids: list[str]
    currencies: list[str]
    """Of this block, in the order in which they occur."""
    currency_numbers: bytes
    """Per row a place in `currencies`, 16 bits each."""
    posted_minor: bytes
    held_minor: bytes
    incoming_minor: bytes
    overdraft_limit_minor: bytes
    opened_sequence: bytes


_EXTENT: Final = Decoder(_Extent)
_ROWS: Final = Decoder(_Rows)


class Accounts:
    """Columns indexed by row; `row_of` gives the row of an account id."""

    def __init__(self) -> None:
        self.row_of: dict[str, int] = {}
        self.account_ids: list[str] = []
        """By row. Like currency, limit and opened sequence, what is in it never changes."""
        self.currency: list[str] = []
        self.posted_minor = array("q")
        """-overdraft_limit … 2^63 - 1."""
        self.held_minor = array("q")
        """Set aside by holds."""
        self.incoming_minor = array("q")
        """Room kept free below the largest balance, for amounts that may yet be posted."""
        self.overdraft_limit_minor = array("q")
        self.opened_sequence = array("q")
        self._copies = (array("q"), array("q"), array("q"))
        """Where `freeze` copies posted, held and incoming to. As long as they are: memory that was
        used before is copied to several times faster than fresh memory."""

    def __len__(self) -> int:
        return len(self.currency)

    def open(
        self, account_id: str, currency: str, overdraft_limit_minor: int, sequence: int
    ) -> None:
        """Add an account with nothing posted."""
        assert account_id not in self.row_of, "an account is opened once"
        self.row_of[account_id] = len(self.currency)
        self.account_ids.append(account_id)
        self.currency.append(currency)
        self.posted_minor.append(0)
        self.held_minor.append(0)
        self.incoming_minor.append(0)
        for copy in self._copies:
            copy.append(0)
        self.overdraft_limit_minor.append(overdraft_limit_minor)
        self.opened_sequence.append(sequence)

    def available_minor(self, row: int) -> int:
        """What the account may pay: posted - held + allowed overdraft (up to 2^64 - 2)."""
        return self.posted_minor[row] - self.held_minor[row] + self.overdraft_limit_minor[row]

    def room_minor(self, row: int) -> int:
        """What the account may still receive before its posted balance leaves 64 bits."""
        return AMOUNT_MINOR_MAX - self.posted_minor[row] - self.incoming_minor[row]

    def has_columns_for(self, row: int, amount_minor: int, *, held: int, incoming: int) -> bool:
        """Whether held and incoming, changed by these multiples of an amount, stay in 64 bits.

        Funds and room may be almost twice that, when a posted balance is far from 0.
        """
        return (
            self.held_minor[row] + held * amount_minor <= AMOUNT_MINOR_MAX
            and self.incoming_minor[row] + incoming * amount_minor <= AMOUNT_MINOR_MAX
        )

    def move(self, from_row: int, to_row: int, amount_minor: int) -> None:
        """Post an amount from one account to another; what one loses the other gains."""
        assert from_row != to_row, "a transfer has two accounts"
        assert 0 < amount_minor <= self.available_minor(from_row), "no account passes its limit"
        self.posted_minor[from_row] -= amount_minor
        self.posted_minor[to_row] += amount_minor

    def change(self, row: int, posted_minor: int, held_minor: int, incoming_minor: int) -> None:
        """Add signed amounts to the columns of one account; it was checked that they fit."""
        self.posted_minor[row] = posted = self.posted_minor[row] + posted_minor
        self.held_minor[row] = held = self.held_minor[row] + held_minor
        self.incoming_minor[row] = incoming = self.incoming_minor[row] + incoming_minor
        assert held >= 0 <= incoming, "what is freed was set aside"
        available = posted - held + self.overdraft_limit_minor[row]
        assert available >= 0 <= AMOUNT_MINOR_MAX - posted - incoming, "no account passes a limit"

    # --- snapshots ---

    def freeze(self, sums: dict[str, int]) -> Iterator[bytes]:
        """See Rules. Adds the posted amounts to the sums per currency while it goes.

        One freeze at a time: the next one takes the copies of the one before.
        """
        live = (self.posted_minor, self.held_minor, self.incoming_minor)
        for column, copy in zip(live, self._copies, strict=True):
            with memoryview(column) as source, memoryview(copy) as target:
                target[:] = source
        return self._blocks(len(self), sums)

    def _blocks(self, count: int, sums: dict[str, int]) -> Iterator[bytes]:
        yield encoded(_Extent(count))
        posted, held, incoming = self._copies
        for at in range(0, count, _ROWS_OF_BLOCK):
            rows = slice(at, min(at + _ROWS_OF_BLOCK, count))
            names = self.currency[rows]
            for name, amount in zip(names, posted[rows], strict=True):
                sums[name] = sums.get(name, 0) + amount
            number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
            yield encoded(
                _Rows(
                    account_ids=self.account_ids[rows],
                    currencies=list(number_of),
                    currency_numbers=array("H", map(number_of.__getitem__, names)).tobytes(),
                    posted_minor=posted[rows].tobytes(),
                    held_minor=held[rows].tobytes(),
                    incoming_minor=incoming[rows].tobytes(),
                    overdraft_limit_minor=self.overdraft_limit_minor[rows].tobytes(),
                    opened_sequence=self.opened_sequence[rows].tobytes(),
                )
            )

    def thaw(self) -> Thaw:
        """See Rules."""
        count = _EXTENT.read((yield)).count
        currencies: dict[str, str] = {}
        while len(self) < count:
            rows = _ROWS.read((yield))
            self.row_of.update(zip(rows.account_ids, range(len(self), count), strict=False))
            self.account_ids += rows.account_ids
            # One string for each currency, not one for each block.
            names = [currencies.setdefault(name, name) for name in rows.currencies]
            self.currency += [names[number] for number in array("H", rows.currency_numbers)]
            for copy in self._copies:
                copy.frombytes(rows.posted_minor)
            self.posted_minor.frombytes(rows.posted_minor)
            self.held_minor.frombytes(rows.held_minor)
            self.incoming_minor.frombytes(rows.incoming_minor)
            self.overdraft_limit_minor.frombytes(rows.overdraft_limit_minor)
            self.opened_sequence.frombytes(rows.opened_sequence)
        assert len(self.row_of) == len(self.opened_sequence) == count, "a row for each account"
