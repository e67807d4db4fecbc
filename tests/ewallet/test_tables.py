"""Tables on a terminal."""

from datetime import UTC, datetime

import pytest

from ewallet.command_accounts import watch_header, watch_line
from ewallet.command_partitions import compare, measured_json, measured_text, skew
from ewallet.command_status import (
    COORDINATOR_HEADER,
    STATUS_HEADER,
    age_text,
    coordinator_rows,
    status_rows,
)
from ewallet.command_transfers import transfer_text, unfinished_text
from ewallet.documents import (
    CoordinatorStatus,
    FollowingReader,
    LeadingWriter,
    PartitionStatus,
    RecordedTransfer,
    Status,
    TransferStep,
    UnfinishedTransfer,
    UnfinishedTransfers,
)
from ewallet.live_documents import AccountChanged
from ewallet.tables import render_table

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_numbers_stand_right_and_texts_left() -> None:
    table = render_table(("name", "count"), [("a", 1), ("long name", 1000)])
    assert table.splitlines() == [
        "name       count",
        "a              1",
        "long name   1000",
    ]


def test_empty_table_is_its_header_and_nothing_is_a_dash() -> None:
    assert render_table(("a", "b"), []) == "a  b"
    assert render_table(("a", "b"), [(None, "x")]).splitlines()[1] == "-  x"


def partition(
    number: int, sequence: int | None = None, accounts: int = 0, *, readers: tuple[str, ...] = ()
) -> PartitionStatus:
    """A partition of 100 slots; no sequence: nobody leads it."""
    leader = None
    if sequence is not None:
        leader = LeadingWriter("w1", epoch=3, sequence=sequence, in_flight=1, accounts=accounts)
    return PartitionStatus(
        partition=number,
        slots=100,
        writer=leader,
        standbys=["w2"] if leader else [],
        unfinished=2 if leader else None,
        oldest_unfinished_at="2026-01-02T03:04:03.500Z" if leader else None,
        readers=[
            FollowingReader(id=name, sequence=17, stored_sequence=16, lag_frames=0)
            for name in readers
        ],
    )


def test_status_has_a_row_per_reader_and_names_who_is_missing() -> None:
    led = status_rows(partition(0, 17, readers=("r1", "r2")), NOW)
    assert led == [
        (0, "w1", 1, 3, 17, 1, 2, "1.5 s", "r1", 17, 16, 0),
        (0, "w1", 1, 3, 17, 1, 2, "1.5 s", "r2", 17, 16, 0),
    ]
    alone = status_rows(partition(1), NOW)
    nobody = ("nobody", None, None, None)
    assert alone == [(1, "nobody", 0, None, None, None, None, None, *nobody)]
    assert all(len(row) == len(STATUS_HEADER) for row in led + alone)


def test_status_shows_the_coordinator_or_that_there_is_none() -> None:
    run = CoordinatorStatus("c0", "w1", ["w2"], 3, 40, 0, 0, None)
    shown = coordinator_rows([run], NOW)
    assert shown == [("c0", "w1", 1, 3, 40, 0, 0, None)]
    missing = coordinator_rows([], NOW)
    assert missing == [(None, "nobody", None, None, None, None, None, None)]
    assert all(len(row) == len(COORDINATOR_HEADER) for row in shown + missing)


def test_age_is_never_negative_whatever_the_clocks_say() -> None:
    assert age_text("2026-01-02T03:04:09.000Z", NOW) == "0.0 s"
    assert age_text(None, NOW) is None


def seen(*partitions: PartitionStatus) -> Status:
    return Status(is_connected=True, held_requests=0, partitions=list(partitions), coordinators=[])


def test_load_is_what_happened_between_two_answers() -> None:
    earlier = seen(partition(0, 100, 3), partition(1, 50, 1), partition(2))
    later = seen(partition(0, 160, 3), partition(1, 70, 1), partition(2, 9, 2))
    measured = compare(earlier, later, 2.0)
    assert measured_text(measured).splitlines() == [
        "partition  slots  accounts  events  events/s",
        "        0    100         3     160        30",
        "        1    100         1      70        10",
        "        2    100         2       9         -",
        "skew (largest / mean): accounts 1.50, load 1.50",
    ]
    assert '"skew": {"accounts": 1.5, "load": 1.5}' in measured_json(measured)


def test_nobody_leads_nothing_is_known() -> None:
    measured = compare(seen(partition(0)), seen(partition(0)), 1.0)
    assert measured_text(measured).splitlines()[1:] == [
        "        0    100         -       -         -",
        "skew (largest / mean): accounts -, load -",
    ]


def test_skew_of_nothing_says_that_there_is_nothing() -> None:
    idle = seen(partition(0, 5, 2), partition(1, 7, 2))
    assert measured_text(compare(idle, idle, 1.0)).splitlines()[1:] == [
        "        0    100         2       5         0",
        "        1    100         2       7         0",
        "skew (largest / mean): accounts 1.00, load - (no events)",
    ]
    new = seen(partition(0, 0))
    text = measured_text(compare(new, new, 1.0))
    assert text.endswith("accounts - (no accounts), load - (no events)")
    assert '"skew": {"accounts": null, "load": null}' in measured_json(compare(new, new, 1.0))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([5, 5, 5], 1.0), ([4, 0], 2.0), ([0, 0], None), ([], None), ([None, 3], 1.0)],
)
def test_skew_is_the_largest_over_the_mean(
    values: list[float | None], expected: float | None
) -> None:
    assert skew(values) == expected


def recorded(status: str, steps: list[TransferStep], **other: str) -> RecordedTransfer:
    assert status in {"completed", "rejected", "pending"}
    return RecordedTransfer(
        status=status,  # type: ignore[arg-type] # one of the three
        transaction_id="t1",
        from_account_id="ann",
        to_account_id="bob",
        amount="1.00",
        currency="USD",
        coordination="choreography" if steps else "none",
        partition=0,
        sequence=9,
        steps=steps,
        **other,
    )


def test_transfer_is_shown_with_its_steps() -> None:
    steps = [
        TransferStep("start", 0, 8, "T1"),
        TransferStep("credit", 1, 70, "T2", "to_account_not_found"),
    ]
    found = recorded("rejected", steps, code="to_account_not_found", rejected_at="T3")
    assert transfer_text(found).splitlines() == [
        (
            "rejected (to_account_not_found): 1.00 USD from ann to bob "
            "(partition 0, sequence 9, T3, coordination choreography)"
        ),
        "step    partition  sequence  at  because of",
        "start           0         8  T1",
        "credit          1        70  T2  to_account_not_found",
    ]
    done = recorded("completed", [], balance="9.00", completed_at="T1")
    assert transfer_text(done) == (
        "completed: 1.00 USD from ann to bob, new balance 9.00 (partition 0, sequence 9, T1, "
        "coordination none)"
    )
    assert "pending: 1.00 USD" in transfer_text(recorded("pending", steps, started_at="T1"))


def test_unfinished_transfers_are_shown_with_their_number() -> None:
    one = UnfinishedTransfer("t1", "ann", "bob", "1.00", "USD", "tcc", 0, "T1", 1_500, "try_debit")
    lines = unfinished_text(UnfinishedTransfers(count=7, transfers=[one])).splitlines()
    assert lines[0].endswith("age (ms)  payer's last step")
    assert " ".join(lines[1].split()) == "t1 ann bob 1.00 USD tcc 0 T1 1500 try_debit"
    assert lines[2] == "1 of 7 unfinished"


def test_watched_changes_stand_under_their_header() -> None:
    hold = AccountChanged(
        account_id="ann",
        currency="USD",
        balance="9.00",
        held="2.50",
        available="6.50",
        partition=0,
        sequence=7,
        at="2026-01-02T03:04:05.000Z",
        transaction_id="t1",
        direction="hold",
        amount="2.50",
        conflated=True,
    )
    header = "at                        account     balance        held   available  change"
    start = "2026-01-02T03:04:05.000Z  ann            9.00        2.50        6.50  "
    assert watch_header(7) == header
    assert watch_line(hold, 7) == f"{start}hold 2.50 USD, t1 (changes before it were left out)"
