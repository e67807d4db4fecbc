"""Histories of one partition: random ones whose few names meet again and again, and a busy one."""

from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

from contracts.commands import Command, OpenAccount, Transfer
from contracts.coordination import Coordination
from tests.drawing import drawn_at_once
from tests.reader.journal_writer import FAR_IDS, Cause, GoOn, Incoming, Writer

ACCOUNT_IDS: Final = ("issuer", "anna", "bert", "carl")
STRANGER_IDS: Final = ("nobody", "astray")
TRANSACTION_IDS: Final = tuple(f"t{number}" for number in range(12))

WAYS: Final = tuple(way for way in Coordination if way)
openings: Final = drawn_at_once(OpenAccount, ACCOUNT_IDS, ("USD", "USD", "EUR"), (0, 50, 1_000))
transfers: Final = drawn_at_once(
    Transfer,
    (*ACCOUNT_IDS, "nobody"),
    (*ACCOUNT_IDS, *STRANGER_IDS, *FAR_IDS, *FAR_IDS),
    range(1, 61),
    ("USD", "USD", "USD", "EUR"),
    TRANSACTION_IDS,
    WAYS,
)
goings_on: Final = drawn_at_once(GoOn, range(3), range(12))
steps: Final = st.one_of(
    goings_on,
    goings_on,
    drawn_at_once(
        Incoming,
        FAR_IDS[:1],
        (*ACCOUNT_IDS[:-1], *ACCOUNT_IDS[:-1], "nobody"),
        range(1, 61),
        TRANSACTION_IDS[:6],
        WAYS,
        range(6),
    ),
)
sources: Final = st.one_of(
    st.tuples(
        st.sampled_from(("p1", "p2")),
        st.integers(0, 2),
        st.lists(st.one_of(transfers, transfers, transfers, openings), min_size=1, max_size=6),
    ),
    st.tuples(st.sampled_from(("w", "")), st.integers(0, 2), st.lists(steps, max_size=9)),
)
written_frames: Final = st.lists(st.lists(sources, min_size=1, max_size=4), max_size=10)

OPENED: Final[list[Command]] = [
    OpenAccount("issuer", "USD", 1_000_000),
    *(OpenAccount(account_id, "USD", 50) for account_id in ACCOUNT_IDS[1:]),
]


def written(
    frames: Sequence[Sequence[tuple[str, int, Sequence[Cause]]]], partition: int = 0
) -> Writer:
    """A writer that opened all accounts but the last and then wrote these frames."""
    writer = Writer(partition)
    writer.write([("p1", 1, OPENED[:-1])])
    for frame in frames:
        writer.write_if_any(frame)
    return writer


def transfer(
    payer: str,
    payee: str,
    amount: int,
    transaction_id: str,
    coordination: Coordination = Coordination.CHOREOGRAPHY,
) -> Transfer:
    return Transfer(payer, payee, amount, "USD", transaction_id, coordination)


def incoming(
    payee: str, amount: int, transaction_id: str, coordination: Coordination, way: int = 0
) -> Incoming:
    """From another partition, each time one step on: with 0 the one that succeeds."""
    return Incoming("far-1", payee, amount, transaction_id, coordination, way)


def opened_writer() -> Writer:
    """A writer that has opened all accounts, as sequences 2 to 5."""
    writer = Writer()
    writer.write([("p1", 1, OPENED)])
    return writer


def busy_writer(transfer_count: int, *, per_frame: int = 7) -> Writer:
    """A writer of many transfers among a few accounts, some refused and some repeated.

    Every fourth frame moves money from and to other partitions too, and leaves some of it held or
    in flight.
    """
    writer = opened_writer()
    for first in range(0, transfer_count, per_frame):
        numbers = range(first, min(first + per_frame, transfer_count))
        writer.write([("p1", first % 3, [_nth_transfer(number) for number in numbers])])
        if first // per_frame % 4 == 1:
            writer.write(_far_sources(first))
    return writer


def _far_sources(first: int) -> list[tuple[str, int, list[Cause]]]:
    """Sources of steps between two of commands, some with results for others than their sender."""
    out = [transfer("issuer", "far-1", 2, f"out-{first}-{way}", way) for way in WAYS]
    back = [incoming("anna", 3, f"in-{first}-{way}", way) for way in WAYS]
    again: list[Cause] = [*out[:1], transfer("issuer", "anna", 1, f"near-{first}")]
    on: list[Cause] = [GoOn(first + number, first) for number in range(3)]
    return [("p1", 1, [*out]), ("w", 0, [*back, *back, *on[:2]]), ("p2", 1, again), ("", 1, on)]


def _nth_transfer(number: int) -> Transfer:
    payee = ACCOUNT_IDS[1 + number % 3]
    if number % 11 == 5:
        return transfer("anna", "bert", 1_000_000, f"refused-{number}")
    if number % 13 == 7:
        payee = ACCOUNT_IDS[1 + (number - 1) % 3]
        return transfer("issuer", payee, 1 + (number - 1) % 9, f"t{number - 1}")
    return transfer("issuer", payee, 1 + number % 9, f"t{number}")


def issuer_and_anna() -> Writer:
    """A writer that has opened two accounts, as sequences 2 and 3."""
    writer = Writer()
    writer.write([("p1", 1, [OpenAccount("issuer", "USD", 100), OpenAccount("anna", "USD", 0)])])
    return writer
