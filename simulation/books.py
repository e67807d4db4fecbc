"""The naive books: what all journals together say about accounts and transfers.

They take one event at a time in the order in which the broker made them durable, over all
partitions, and refuse what must not happen. Nothing here is taken from the writer.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from contracts.coordination import Coordination, Step
from contracts.limits import AMOUNT_MINOR_MAX
from contracts.rejections import Rejection
from simulation.lifecycles import ENDED, MONEY_HAS_LEFT, Effect

Name = tuple[str, str]
Content = tuple[str, str, int, str, str]
"""Payer, payee, amount in minor units, currency, transaction id."""


class Violated(Exception):
    """What is promised does not hold."""


def check(holds: object, what: str) -> None:
    """Raise Violated with a sentence unless it holds."""
    if not holds:
        raise Violated(what)


@dataclass
class Line:
    """What one event did to an account's posted balance."""

    sequence: int
    at_ms: int
    transaction_id: str
    counterparty_id: str
    amount_minor: int
    balance_minor: int


@dataclass
class Account:
    """One account."""

    account_id: str
    currency: str
    limit_minor: int
    opened_sequence: int
    opened_at_ms: int
    posted_minor: int = 0
    held_minor: int = 0
    incoming_minor: int = 0
    locked_by: Name | None = None
    lines: list[Line] = field(default_factory=list)
    holdings: list[tuple[int, int]] = field(default_factory=list)
    """(sequence, held from there on)"""

    def posted_at(self, sequence: int) -> int:
        """Posted balance after a sequence of its partition."""
        return sum(line.amount_minor for line in self.lines if line.sequence <= sequence)

    def held_at(self, sequence: int) -> int:
        """Held amount after a sequence of its partition."""
        return next((held for at, held in reversed(self.holdings) if at <= sequence), 0)

    @property
    def available_minor(self) -> int:
        """What it may pay."""
        return self.posted_minor - self.held_minor + self.limit_minor

    @property
    def room_minor(self) -> int:
        """What it may receive."""
        return AMOUNT_MINOR_MAX - self.posted_minor - self.incoming_minor


@dataclass
class Ending:
    """The outcome that a transfer has for ever."""

    sequence: int
    at_ms: int
    reason: Rejection | None
    balance_minor: int
    coordination: Coordination


@dataclass
class Taken:
    """A step that one side took or refused."""

    step: Step | None
    partition: int
    sequence: int
    at_ms: int
    reason: Rejection | None


@dataclass
class Transfer:
    """All that is known of one transfer."""

    content: Content
    coordination: Coordination = Coordination.NONE
    payer: str = ""
    payee: str = "absent"
    started_sequence: int = 0
    started_at_ms: int = 0
    held_at_ms: int = 0
    payee_reason: Rejection | None = None
    """Why the payee's side refused its first step."""
    ending: Ending | None = None
    payer_steps: list[Taken] = field(default_factory=list)
    payee_steps: list[Taken] = field(default_factory=list)
    answers: dict[Step, Rejection | None] = field(default_factory=dict)
    """What the coordinator has recorded."""
    begun_at_ms: int | None = None
    """When the coordinator took it in hand."""
    is_timed_out: bool = False

    @property
    def name(self) -> Name:
        """How it is called for ever."""
        return self.content[0], self.content[4]

    @property
    def in_flight_minor(self) -> int:
        """What left the payer and has not reached the payee; negative the other way round."""
        left = self.payer in MONEY_HAS_LEFT
        return self.content[2] * (left - (self.payee == "credited"))

    @property
    def is_open(self) -> bool:
        """Whether either side, or the coordinator, has something to do yet."""
        payee_open = self.payee not in ENDED and self.payee != "absent"
        return (self.payer != "" and self.payer not in ENDED) or payee_open

    @property
    def is_split_brained(self) -> bool:
        """Whether the sides have ended in different ways."""
        return (self.payer == "paid") != (self.payee == "credited")


class Books:
    """All accounts and transfers between and within partitions."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.transfers: dict[Name, Transfer] = {}
        self.posted_minor: defaultdict[str, int] = defaultdict(int)
        self.in_flight_minor: defaultdict[str, int] = defaultdict(int)
        self.outcomes = Counter[str]()

    def move(self, account_id: str, effect: Effect, transfer: Transfer, line: Line) -> None:
        """Change an account's columns; the line is kept if posted changes."""
        account = self.accounts[account_id]
        amount = transfer.content[2]
        account.posted_minor += effect.posted * amount
        account.held_minor += effect.held * amount
        account.incoming_minor += effect.incoming * amount
        self.posted_minor[account.currency] += effect.posted * amount
        if effect.posted:
            line.amount_minor = effect.posted * amount
            line.balance_minor = account.posted_minor
            account.lines.append(line)
        if effect.held:
            account.holdings.append((line.sequence, account.held_minor))
        self.check_limits(account)

    def lock(self, account_id: str, transfer: Transfer) -> None:
        """Lock an account for a transfer."""
        account = self.accounts[account_id]
        check(account.locked_by is None, f"{account_id} is locked twice, for {transfer.name} too")
        account.locked_by = transfer.name

    def unlock(self, account_id: str, transfer: Transfer) -> None:
        """Release the lock of a transfer."""
        account = self.accounts[account_id]
        check(account.locked_by == transfer.name, f"{account_id}: {transfer.name} had no lock")
        account.locked_by = None

    def check_limits(self, account: Account) -> None:
        """No account passes its limits, whatever else happens to it later."""
        check(account.held_minor >= 0, f"{account.account_id}: held {account.held_minor}")
        check(account.incoming_minor >= 0, f"{account.account_id}: incoming below 0")
        check(
            account.available_minor >= 0,
            f"{account.account_id} is {-account.available_minor} beyond its limit",
        )
        check(account.room_minor >= 0, f"{account.account_id} exceeds the largest balance")

    def check_unlocked(self, account_id: str, what: str) -> None:
        """Nobody may look at or take from a locked account."""
        account = self.accounts.get(account_id)
        if account is not None and account.locked_by is not None:
            raise Violated(f"{what} while {account_id} is locked by {account.locked_by}")

    def check_conservation(self) -> None:
        """Per currency, what is posted and what is in flight sum to 0."""
        for currency, posted in self.posted_minor.items():
            total = posted + self.in_flight_minor[currency]
            check(total == 0, f"{currency}: {total} minor units too many")

    def refusal(self, content: Content, *, payer: bool, payee: bool) -> Rejection | None:
        """Why a transfer can't take place, by what is known of the sides that are looked at."""
        from_id, to_id, amount, currency, _ = content
        reasons = {
            Rejection.SAME_ACCOUNT: payer and payee and from_id == to_id,
            Rejection.FROM_ACCOUNT_NOT_FOUND: payer and from_id not in self.accounts,
            Rejection.TO_ACCOUNT_NOT_FOUND: payee and to_id not in self.accounts,
        }
        if payer and (account := self.accounts.get(from_id)) is not None:
            reasons[Rejection.CURRENCY_MISMATCH] = account.currency != currency
            reasons[Rejection.INSUFFICIENT_FUNDS] = amount > account.available_minor
        if payee and (account := self.accounts.get(to_id)) is not None:
            mismatch = reasons.get(Rejection.CURRENCY_MISMATCH, False)
            reasons[Rejection.CURRENCY_MISMATCH] = mismatch or account.currency != currency
            reasons[Rejection.BALANCE_LIMIT_EXCEEDED] = amount > account.room_minor
        return min((reason for reason, holds in reasons.items() if holds), default=None)

    def balance_minor(self, account_id: str) -> int:
        """Posted balance, 0 for an unknown account."""
        account = self.accounts.get(account_id)
        return 0 if account is None else account.posted_minor
