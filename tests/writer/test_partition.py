"""The rules about money, as tables: what each command answers and what is left afterwards."""

import shlex

import pytest

from contracts.commands import Command, OpenAccount, Transfer
from contracts.events import (
    AccountOpened,
    AccountOpenRejected,
    AccountOpenRepeated,
    EpochOpened,
    Event,
    TransferCompleted,
    TransferRejected,
    TransferRepeated,
)
from contracts.limits import AMOUNT_MINOR_MAX
from contracts.partitioning import SlotMap
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.core.partition import Partition


def outcome(event: Event) -> str:
    match event:
        case AccountOpened() | TransferCompleted():
            return "accepted"
        case AccountOpenRepeated() | TransferRepeated():
            return f"repeated@{event.first_sequence}"
        case AccountOpenRejected() | TransferRejected():
            return event.reason.name.lower()
        case _:
            raise AssertionError(event)


def command(words: list[str]) -> Command:
    match words:
        case ["open", account_id, currency, limit]:
            return OpenAccount(account_id, currency, int(limit))
        case ["move", transaction_id, payer, payee, amount, currency]:
            return Transfer(payer, payee, int(amount), currency, transaction_id)
        case _:
            raise AssertionError(words)


def check(story: str, partition: Partition | None = None) -> None:
    """Run a story: each line is a command with its expected outcome, or `show account=posted …`.

    Sequences are counted from 1, one for each command.
    """
    partition = partition or Partition(0, SlotMap.even(1))
    partition.evolve(EpochOpened("writer", b"k" * FINGERPRINT_KEY_BYTES), 0, 0)
    sequence = 0
    for line in filter(None, (line.strip() for line in story.splitlines())):
        words = shlex.split(line, comments=True)
        if words[0] == "show":
            for claim in words[1:]:
                account_id, posted = claim.split("=")
                row = partition.accounts.row_of[account_id]
                assert partition.accounts.posted_minor[row] == int(posted), line
            continue
        event = partition.decide(command(words[:-1]))
        assert event is not None
        sequence += 1
        partition.evolve(event, sequence, 0)
        assert outcome(event) == words[-1], line


def test_a_transfer_moves_the_amount() -> None:
    check("""
        open bank  USD 1000                  accepted
        open alice USD 0                     accepted
        move t1 bank alice 300 USD           accepted
        show bank=-300 alice=300
    """)


def test_an_account_pays_down_to_its_overdraft_limit_and_no_further() -> None:
    check("""
        open bank  USD 1000                  accepted
        open alice USD 0                     accepted
        move t1 bank alice 1001 USD          insufficient_funds
        move t2 bank alice 1000 USD          accepted
        move t3 bank alice 1 USD             insufficient_funds
        move t4 alice bank 1001 USD          insufficient_funds
        move t5 alice bank 1000 USD          accepted
        show bank=0 alice=0
    """)


def test_the_same_transfer_is_answered_as_the_first_time_for_ever() -> None:
    check("""
        open bank  USD 1000                  accepted
        open alice USD 0                     accepted
        move t1 bank alice 300 USD           accepted
        move t1 bank alice 300 USD           repeated@3
        move t2 bank alice 900 USD           insufficient_funds
        move t3 alice bank 300 USD           accepted
        move t2 bank alice 900 USD           repeated@5      # would be possible by now
        move t1 bank alice 300 USD           repeated@3
        show bank=0 alice=0
    """)


def test_a_used_transaction_id_with_other_content_is_a_conflict() -> None:
    check("""
        open bank  USD 1000                  accepted
        open alice USD 0                     accepted
        open bob   USD 0                     accepted
        move t1 bank alice 300 USD           accepted
        move t1 bank alice 301 USD           idempotency_conflict
        move t1 bank bob   300 USD           idempotency_conflict
        move t1 bank alice 300 EUR           idempotency_conflict
        move t1 bank alice 300 USD           repeated@4
        show bank=-300 alice=300 bob=0
    """)


def test_a_transaction_id_belongs_to_its_payer() -> None:
    check("""
        open bank  USD 1000                  accepted
        open alice USD 1000                  accepted
        move t1 bank alice 300 USD           accepted
        move t1 alice bank 300 USD           accepted
        show bank=0 alice=0
    """)


def test_reasons_come_in_the_order_of_their_precedence() -> None:
    check("""
        move t1 ghost ghost 1 USD            same_account
        move t2 ghost phantom 1 USD          from_account_not_found
        open alice USD 0                     accepted
        move t3 alice phantom 1 EUR          to_account_not_found
        open bob EUR 0                       accepted
        move t4 alice bob 1 USD              currency_mismatch
        move t5 alice bob 1 EUR              currency_mismatch
        open carol USD 0                     accepted
        move t6 alice carol 1 EUR            currency_mismatch
        move t7 alice carol 1 USD            insufficient_funds
    """)


def test_opening_again_is_a_repeat_and_opening_otherwise_a_conflict() -> None:
    check("""
        open alice USD 10                    accepted
        open alice USD 10                    repeated@1
        open alice EUR 10                    account_exists
        open alice USD 11                    account_exists
        open alice USD 10                    repeated@1
    """)


def test_no_balance_leaves_64_bits() -> None:
    top = AMOUNT_MINOR_MAX
    check(f"""
        open a JPY {top}                     accepted
        open b JPY {top}                     accepted
        open c JPY 0                         accepted
        move t1 a c {top} JPY                accepted
        move t2 b c 1 JPY                    balance_limit_exceeded
        move t3 a c 1 JPY                    insufficient_funds
        show a=-{top} b=0 c={top}
        move t4 c a {top} JPY                accepted
        move t5 b a {top} JPY                accepted
        move t6 c a 1 JPY                    insufficient_funds
        show a={top} b=-{top} c=0
        move t7 a b {top} JPY                accepted
    """)


def test_accounts_of_other_partitions_are_not_this_writers_business() -> None:
    # Of 2 partitions foo (slot 12182) is in 1, bar (slot 5061) in 0.
    check(
        """
        open bar USD 5                       accepted
        open foo USD 5                       wrong_partition
        move t1 foo bar 1 USD                wrong_partition
        show bar=0
        """,
        Partition(0, SlotMap.even(2)),
    )


@pytest.mark.parametrize("story", ["move t1 x y 1 USD from_account_not_found"])
def test_a_refusal_for_an_unknown_payer_is_remembered_too(story: str) -> None:
    check(f"""
        {story}
        open x USD 5                         accepted
        open y USD 5                         accepted
        move t1 x y 1 USD                    repeated@1
        show x=0 y=0
    """)
