"""What one event does: results, balances, and which first answers are remembered."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.commands import Command, OpenAccount, Transfer
from contracts.events import TransferCompleted
from contracts.frames import Source
from contracts.rejections import Rejection
from contracts.results import Result
from tests.reader.books import Fact
from tests.reader.desk import Desk
from tests.reader.histories import ACCOUNT_IDS, OPENED, transfer, written, written_frames
from tests.reader.journal_writer import Writer

Outcome = tuple[Rejection | None, int, int, bool]
"""(rejection, balance, sequence, repeated)"""


def check(tmp_path: Path, *rows: tuple[Command, Outcome]) -> None:
    """Open issuer, anna, bert, carl as sequences 2 to 5, then one command per row from 6 on."""
    writer = Writer()
    writer.write([("p", 1, OPENED)])
    desk = Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    for command, expected in rows:
        (result,) = desk.take(writer.write([("p", 1, [command])]))["p"]
        told = (result.rejection, result.balance_minor, result.sequence, result.repeated)
        assert told == expected, command
    desk.store.close()


def test_a_payer_is_told_its_own_balance(tmp_path: Path) -> None:
    check(
        tmp_path,
        (transfer("issuer", "anna", 70, "t1"), (None, -70, 6, False)),
        (transfer("anna", "bert", 30, "t1"), (None, 40, 7, False)),
        (transfer("anna", "bert", 90, "t2"), (None, -50, 8, False)),
        (transfer("anna", "bert", 1, "t3"), (Rejection.INSUFFICIENT_FUNDS, -50, 9, False)),
    )


def test_a_repeat_gets_the_first_answer_whatever_happened_since(tmp_path: Path) -> None:
    check(
        tmp_path,
        (transfer("issuer", "anna", 70, "t1"), (None, -70, 6, False)),
        (transfer("anna", "bert", 999, "t2"), (Rejection.INSUFFICIENT_FUNDS, 70, 7, False)),
        (transfer("issuer", "anna", 5, "t3"), (None, -75, 8, False)),
        (transfer("issuer", "anna", 70, "t1"), (None, -70, 6, True)),
        (transfer("anna", "bert", 999, "t2"), (Rejection.INSUFFICIENT_FUNDS, 70, 7, True)),
    )


def test_a_conflict_is_told_and_the_first_answer_stays(tmp_path: Path) -> None:
    check(
        tmp_path,
        (transfer("issuer", "anna", 70, "t1"), (None, -70, 6, False)),
        (transfer("issuer", "anna", 71, "t1"), (Rejection.IDEMPOTENCY_CONFLICT, -70, 7, False)),
        (transfer("issuer", "anna", 70, "t1"), (None, -70, 6, True)),
    )


def test_a_refusal_that_is_not_remembered_leaves_the_name_free(tmp_path: Path) -> None:
    refused = Rejection.WRONG_PARTITION
    check(
        tmp_path,
        (transfer("issuer", "astray", 70, "t1"), (refused, 0, 6, False)),
        (transfer("issuer", "anna", 70, "t1"), (None, -70, 7, False)),
    )


def test_an_unknown_payer_has_a_balance_of_zero(tmp_path: Path) -> None:
    refused = Rejection.FROM_ACCOUNT_NOT_FOUND
    check(
        tmp_path,
        (transfer("nobody", "anna", 70, "t1"), (refused, 0, 6, False)),
        (transfer("nobody", "anna", 70, "t1"), (refused, 0, 6, True)),
    )


def test_an_opening_again_gets_the_balance_it_had_then(tmp_path: Path) -> None:
    check(
        tmp_path,
        (transfer("issuer", "anna", 70, "t1"), (None, -70, 6, False)),
        (OpenAccount("anna", "USD", 50), (None, 0, 3, True)),
        (OpenAccount("anna", "EUR", 50), (Rejection.ACCOUNT_EXISTS, 70, 8, False)),
    )


def test_amounts_reach_the_bounds_of_64_bits(tmp_path: Path) -> None:
    most = 2**63 - 1
    check(
        tmp_path,
        (OpenAccount("mint", "USD", most), (None, 0, 6, False)),
        (Transfer("mint", "anna", most, "USD", "t"), (None, -most, 7, False)),
        (Transfer("anna", "bert", most, "USD", "t"), (None, 0, 8, False)),
    )


def test_an_opened_epoch_has_no_result_and_takes_a_sequence(tmp_path: Path) -> None:
    writer = Writer()
    desk = Desk(tmp_path / "store.sqlite")
    assert desk.take(writer.frames[0]) == {}
    assert desk.projection.cursor.tip.sequence == 1
    assert desk.take(writer.write([("p", 1, OPENED[:1])])) == {
        "p": [Result(1, None, 0, 2, writer.at_ms, repeated=False)]
    }
    desk.store.close()


def test_an_event_about_an_account_that_was_never_opened_is_a_bug(tmp_path: Path) -> None:
    writer = Writer()
    desk = Desk(tmp_path / "store.sqlite")
    desk.take_all(writer.frames)
    writer.facts.append(Fact(2, writer.at_ms, TransferCompleted("x", "y", 1, "USD", "t")))
    with pytest.raises(KeyError):
        desk.take(writer.frame([Source("p", 1, writer.at_ms, 1)], 1, writer.tip.epoch, {}))
    desk.store.close()


@settings(max_examples=60)
@given(written_frames, st.data())
def test_every_result_is_what_the_books_say(frames: list, data: st.DataObject) -> None:  # type: ignore[type-arg] # drawn
    """Wherever the groups are cut and written, each proxy gets its results, in order."""
    writer = written(frames)
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder) / "store.sqlite")
        for frame, expected in zip(writer.frames, writer.expected, strict=True):
            assert desk.take(frame) == expected
            if data.draw(st.booleans()):
                desk.store_pending()
            if data.draw(st.integers(0, 7)) == 0:
                desk.store.tidy(at_once=True)
        tip = writer.tip.sequence
        for account_id in ACCOUNT_IDS:
            account = desk.projection.account(account_id)
            assert (account is not None) == (writer.books.opening(account_id) is not None)
            if account is not None:
                assert account.posted_minor == writer.books.posted(account_id, tip)
                assert account.held_minor == writer.books.held(account_id, tip)
        desk.store.close()
