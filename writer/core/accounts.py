"""The accounts of one partition, a column per attribute, a row per account.

Owns what an account is and how an amount is posted. Knows nothing of commands, events or time.
"""

from array import array

from contracts.limits import AMOUNT_MINOR_MAX


class Accounts:
    """Columns indexed by row; `row_of` gives the row of an account id."""

    def __init__(self) -> None:
        self.row_of: dict[str, int] = {}
        self.currency: list[str] = []
        self.posted_minor = array("q")
        """-overdraft_limit … 2^63 - 1."""
        self.held_minor = array("q")
        """Set aside by holds."""
        self.incoming_minor = array("q")
        """Room kept free below the largest balance, for amounts that may yet be posted."""
        self.overdraft_limit_minor = array("q")
        self.opened_sequence = array("q")

    def __len__(self) -> int:
        return len(self.currency)

    def open(
        self, account_id: str, currency: str, overdraft_limit_minor: int, sequence: int
    ) -> None:
        """Add an account with nothing posted."""
        assert account_id not in self.row_of, "an account is opened once"
        self.row_of[account_id] = len(self.currency)
        self.currency.append(currency)
        self.posted_minor.append(0)
        self.held_minor.append(0)
        self.incoming_minor.append(0)
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
