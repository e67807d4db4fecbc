"""The accounts of one partition, a column per attribute, numbered in the order of their opening.

Owns what an account has posted and held, and the chain of its entries. Knows nothing of events.
"""

from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

from reader.core.rows import AccountRow
from reader.core.unstored import Unstored

MARK_DISTANCE: Final = 32
"""Every so many entries of an account one is marked, so that a page deep in a long statement is
found without walking there. A power of two."""


class Account(NamedTuple):
    """One account as it is now."""

    number: int
    currency: str
    overdraft_limit_minor: int
    posted_minor: int
    held_minor: int
    opened_sequence: int
    newest_sequence: int
    """Of its newest entry, 0 if it has none."""


class Accounts:
    """The columns, and the way in which steps of transfers change them."""

    def __init__(self, rows: Iterable[AccountRow], unstored: Unstored) -> None:
        """Continue from the accounts as stored, in the order of their numbers, nothing held."""
        self.numbers: dict[str, int] = {}
        self.ids: list[str] = []
        self.currencies: list[str] = []
        self.overdraft_limits = array("q")
        self.posted = array("q")
        self.held = array("q")
        self.opened_sequences = array("q")
        self.opened_at_ms = array("q")
        self.newest = array("q")
        """Sequence of an account's newest entry, 0 if it has none."""
        self.entry_counts = array("q")
        self._unstored = unstored
        for row in rows:
            self.add(row)

    def add(self, row: AccountRow) -> None:
        """Take the account with the next number."""
        assert row.number == len(self.ids), "accounts are numbered in the order of their opening"
        assert row.account_id not in self.numbers, "an account is opened once"
        self.numbers[row.account_id] = row.number
        self.ids.append(row.account_id)
        self.currencies.append(row.currency)
        self.overdraft_limits.append(row.overdraft_limit_minor)
        self.posted.append(row.posted_minor)
        self.held.append(0)
        self.opened_sequences.append(row.opened_sequence)
        self.opened_at_ms.append(row.opened_at_ms)
        self.newest.append(row.newest_sequence)
        self.entry_counts.append(row.entry_count)

    def account(self, account_id: str) -> Account | None:
        """One account now, None if it was never opened here."""
        number = self.numbers.get(account_id)
        if number is None:
            return None
        return Account(
            number=number,
            currency=self.currencies[number],
            overdraft_limit_minor=self.overdraft_limits[number],
            posted_minor=self.posted[number],
            held_minor=self.held[number],
            opened_sequence=self.opened_sequences[number],
            newest_sequence=self.newest[number],
        )

    def posted_minor(self, account_id: str) -> int:
        """The posted balance, 0 for an account that was never opened here."""
        number = self.numbers.get(account_id)
        return 0 if number is None else self.posted[number]

    def post(self, number: int, moved_minor: int, sequence: int) -> int:
        """Change the posted balance by an entry; give the sequence of the entry before it."""
        self.posted[number] += moved_minor
        previous = self.newest[number]
        self.newest[number] = sequence
        self.entry_counts[number] = count = self.entry_counts[number] + 1
        if not count % MARK_DISTANCE:
            self._unstored.pending.marks.append((number, sequence))
        return previous

    def hold(self, number: int, held_minor: int, sequence: int) -> None:
        """Set more aside from a sequence on; less, if held_minor is negative."""
        self.held[number] = held = self.held[number] + held_minor
        assert held >= 0, "no more is released than is held"
        self._unstored.pending.held.setdefault(number, []).append((sequence, held))
