"""The checker of histories refuses what fits no order, and nothing else. No server is started."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.history import NEVER, History, Interval, Line, Read, Statement, Told, Transfer
from tests.e2e.order import stale_reads, violations

LIMIT = 1_000
PARTITIONS = {"ann": 0, "ben": 0, "cat": 1, "dan": 1}


class Wallet:
    """Does transfers one after the other at given instants, and writes down what is told."""

    def __init__(self) -> None:
        self.history = History(
            statements={name: Statement(at, LIMIT, []) for name, at in PARTITIONS.items()}
        )
        self.sequences = dict.fromkeys(PARTITIONS.values(), 0)

    def transfer(
        self, payer: str, payee: str, amount: int, at: Interval, *, is_told: bool = True
    ) -> Transfer:
        number = len(self.history.transfers)
        transfer = Transfer(payer, payee, f"t{number}", amount, at)
        self.history.transfers[transfer.name] = transfer
        is_accepted = self.balance(payer) + LIMIT >= amount
        partition = PARTITIONS[payer]
        sequence = self.sequences[partition] = self.sequences[partition] + 1
        if is_accepted:
            self.post(payer, transfer, -amount, sequence)
            if PARTITIONS[payee] != partition:
                self.sequences[PARTITIONS[payee]] += 1
                sequence = self.sequences[PARTITIONS[payee]]
            self.post(payee, transfer, amount, sequence)
        if is_told:
            reason = "" if is_accepted else "insufficient_funds"
            transfer.told = Told(
                is_accepted, partition, self.sequences[partition], self.balance(payer), reason
            )
        else:
            transfer.at = Interval(at.asked_s, NEVER)
        return transfer

    def post(self, account: str, transfer: Transfer, amount: int, sequence: int) -> None:
        line = Line(sequence, transfer.transaction_id, amount, self.balance(account) + amount)
        self.history.statements[account].lines.append(line)

    def balance(self, account: str) -> int:
        lines = self.history.statements[account].lines
        return lines[-1].balance_minor if lines else 0

    def read(self, account: str, at: Interval, *, behind: int = 0, is_demanding: bool) -> Read:
        statement = self.history.statements[account]
        sequence = max(self.sequences[statement.partition] - behind, 0)
        shown = [line.balance_minor for line in statement.lines if line.sequence <= sequence]
        balance = shown[-1] if shown else 0
        demanded = sequence if is_demanding else None
        read = Read(account, at, statement.partition, sequence, balance, demanded)
        self.history.reads.append(read)
        return read


def history_of(seed: int, count: int = 60) -> History:
    """A random history that fits an order: things happen one by one, told within slack."""
    chance, wallet = Random(seed), Wallet()
    for moment in range(1, count):
        early, late = (chance.choice([0.2, 0.4, 3.0, 9.0]) for _ in "ab")
        at = Interval(moment - early, moment + late)
        if chance.random() < 0.3:
            is_demanding = chance.random() < 0.5
            behind = 0 if is_demanding else chance.randint(0, 3)
            account = chance.choice(list(PARTITIONS))
            wallet.read(account, at, behind=behind, is_demanding=is_demanding)
        else:
            payer, payee = chance.sample(list(PARTITIONS), 2)
            is_told = chance.random() < 0.9
            wallet.transfer(payer, payee, chance.randint(1, 900), at, is_told=is_told)
    return wallet.history


@given(st.integers(min_value=0))
def test_whatever_was_done_one_by_one_fits_an_order(seed: int) -> None:
    assert violations(history_of(seed)) == []


def quiet() -> Wallet:
    """Two transfers within a partition and one to another, each told before the next is asked."""
    wallet = Wallet()
    wallet.transfer("ann", "ben", 100, Interval(1.0, 2.0))
    wallet.transfer("ben", "ann", 30, Interval(3.0, 4.0))
    wallet.transfer("ann", "cat", 50, Interval(5.0, 6.0))
    wallet.read("ann", Interval(7.0, 8.0), is_demanding=True)
    wallet.read("cat", Interval(7.0, 8.0), behind=1, is_demanding=False)
    wallet.transfer("dan", "cat", 1_001, Interval(9.0, 10.0))
    return wallet


def retold(history: History, number: int, **changes: object) -> None:
    """Tell the nth transfer's client something else."""
    transfer = list(history.transfers.values())[number]
    assert transfer.told is not None
    transfer.told = replace(transfer.told, **changes)  # type: ignore[arg-type]


def moved_to(history: History, number: int, at: Interval) -> None:
    """Let the nth transfer have been asked for and told at other times."""
    list(history.transfers.values())[number].at = at


def reread(history: History, number: int, **changes: object) -> None:
    history.reads[number] = replace(history.reads[number], **changes)  # type: ignore[arg-type]


def relined(history: History, account: str, number: int, **changes: int) -> None:
    lines = history.statements[account].lines
    lines[number] = replace(lines[number], **changes)  # type: ignore[arg-type]


def paid_twice(history: History) -> None:
    lines = history.statements["ann"].lines
    lines.append(replace(lines[-1], sequence=9, balance_minor=lines[-1].balance_minor - 50))


def refused_with_money(history: History) -> None:
    statements = history.statements
    statements["dan"] = replace(statements["dan"], overdraft_minor=1_001)


Damage = Callable[[History], None]
CASES: dict[str, tuple[Damage, str]] = {
    "two answers with one sequence": (
        lambda h: retold(h, 1, sequence=1, balance_minor=100),
        "both at 1",
    ),
    "a later request with a lower sequence than an earlier answer": (
        lambda h: moved_to(h, 0, Interval(4.5, 4.9)),
        "told before",
    ),
    "a balance that no entry explains": (lambda h: retold(h, 0, balance_minor=-99), "told -99"),
    "a balance of another sequence": (lambda h: retold(h, 1, balance_minor=0), "told 0 at 2"),
    "an answer of another partition": (lambda h: retold(h, 0, partition=1), "told partition 1"),
    "an acceptance that moved nothing": (
        lambda h: retold(h, 3, is_accepted=True, balance_minor=0),
        "moved [] and []",
    ),
    "a refusal that moved something": (lambda h: retold(h, 0, is_accepted=False), "but moved"),
    "a debit twice": (paid_twice, "moved as [-50, -50]"),
    "a credit that is not there": (
        lambda h: h.statements["cat"].lines.clear(),
        "moved as [-50] and []",
    ),
    "a transfer that nobody asked for": (
        lambda h: h.statements["dan"].lines.append(Line(7, "stranger", 5, 5)),
        "nobody asked for it",
    ),
    "entries out of order": (lambda h: relined(h, "ann", 1, sequence=1), "comes after"),
    "a sum that is wrong": (lambda h: relined(h, "ben", 1, balance_minor=71), "not 70"),
    "a balance below the limit": (
        lambda h: h.statements.update(ann=replace(h.statements["ann"], overdraft_minor=99)),
        "below its limit",
    ),
    "a read of another balance": (lambda h: reread(h, 0, balance_minor=-119), "is -120"),
    "a read older than demanded": (lambda h: reread(h, 0, demanded=4), "older than was demanded"),
    "a demanding read that misses what was told": (
        lambda h: reread(h, 0, sequence=2, demanded=2, balance_minor=-70),
        "was told sequence 3",
    ),
    "a read of the future": (
        lambda h: reread(h, 0, at=Interval(0.1, 0.5)),
        "had not been asked for",
    ),
    "a refusal with money there": (
        refused_with_money,
        "where 1001 was there",
    ),
}


def test_the_story_of_the_cases_fits_an_order() -> None:
    assert violations(quiet().history) == []


@pytest.mark.parametrize("case", CASES)
def test_what_fits_no_order_is_refused(case: str) -> None:
    damage, said = CASES[case]
    history = quiet().history
    damage(history)
    assert any(said in text for text in violations(history)), violations(history)


def test_a_plain_read_may_be_old() -> None:
    wallet = quiet()
    assert stale_reads(wallet.history) == []
    old = wallet.read("ann", Interval(11.0, 12.0), behind=3, is_demanding=False)
    assert violations(wallet.history) == []
    assert stale_reads(wallet.history) == [old]


def test_nobody_can_demand_the_sequence_of_a_refusal() -> None:
    """Its answer does not name it."""
    wallet = quiet()
    wallet.transfer("ben", "ann", 5_000, Interval(11.0, 12.0))
    read = wallet.read("ann", Interval(13.0, 14.0), is_demanding=True)
    wallet.history.reads[-1] = replace(read, sequence=read.sequence - 1, demanded=read.sequence - 1)
    assert violations(wallet.history) == []


def test_what_was_never_told_may_have_been_done_at_any_later_time() -> None:
    wallet = Wallet()
    left = wallet.transfer("ann", "ben", 5, Interval(1.0), is_told=False)
    assert violations(wallet.history) == []
    for account in ("ann", "ben"):
        wallet.history.statements[account].lines.clear()
    assert violations(wallet.history) == [], "nor need it have been done"
    assert left.told is None


def test_money_that_is_refunded_moved_nothing() -> None:
    wallet = Wallet()
    transfer = wallet.transfer("ann", "ben", 5_000, Interval(1.0, 9.0))
    lines = wallet.history.statements["ann"].lines
    lines += [
        Line(2, transfer.transaction_id, -500, -500),
        Line(3, transfer.transaction_id, 500, 0),
    ]
    transfer.amount_minor = 500
    transfer.told = Told(is_accepted=False, partition=0, sequence=4, reason="hold_expired")
    assert violations(wallet.history) == []


def test_what_another_transfer_may_hold_is_not_there() -> None:
    wallet = Wallet()
    wallet.transfer("ann", "cat", 600, Interval(1.0, 9.0))
    refused = wallet.transfer("ann", "ben", 500, Interval(2.0, 3.0))
    assert refused.told is not None
    refused.told = replace(refused.told, sequence=0)
    assert violations(wallet.history) == []
    moved_to(wallet.history, 0, Interval(4.0, 9.0))
    assert any("where 1000 was there" in text for text in violations(wallet.history))


@given(st.integers(min_value=0), st.data())
def test_an_answer_that_is_moved_in_time_past_another_is_refused(
    seed: int, data: st.DataObject
) -> None:
    """Whoever is told before somebody asks, and has the higher sequence, is refused."""
    history = history_of(seed)
    told = [each for each in history.transfers.values() if each.told is not None]
    first, second = data.draw(st.permutations(told).map(lambda found: found[:2]))
    assert first.told is not None
    assert second.told is not None
    if first.told.partition != second.told.partition:
        return
    if first.told.sequence > second.told.sequence:
        first, second = second, first
    first.at, second.at = Interval(1_000.0, 1_001.0), Interval(0.0, 0.1)
    assert violations(history)


@given(st.integers(min_value=0), st.data())
def test_any_balance_that_is_changed_is_refused(seed: int, data: st.DataObject) -> None:
    history = history_of(seed)
    told = [each for each in history.transfers.values() if each.told and each.told.is_accepted]
    transfer = data.draw(st.sampled_from(told))
    assert transfer.told is not None
    change = data.draw(st.integers(min_value=-5, max_value=5).filter(bool))
    transfer.told = replace(transfer.told, balance_minor=transfer.told.balance_minor + change)
    assert violations(history)


@given(st.integers(min_value=0), st.data())
def test_any_entry_that_is_lost_is_noticed(seed: int, data: st.DataObject) -> None:
    history = history_of(seed)
    statements = [each for each in history.statements.values() if each.lines]
    lines = data.draw(st.sampled_from(statements)).lines
    lines.pop(data.draw(st.integers(min_value=0, max_value=len(lines) - 1)))
    assert violations(history)


@given(st.integers(min_value=0), st.data())
def test_any_sequence_that_is_told_twice_is_refused(seed: int, data: st.DataObject) -> None:
    history = history_of(seed)
    told = [each for each in history.transfers.values() if each.told is not None]
    one, other = data.draw(st.permutations(told).map(lambda found: found[:2]))
    assert one.told is not None
    assert other.told is not None
    if one.told.partition == other.told.partition:
        one.told = replace(one.told, sequence=other.told.sequence)
        assert violations(history)
