"""Random histories: conservation, limits, exactly once, and replay equal to live.

The model is written the naive way: dictionaries, a list of outcomes per name, sums.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.chain import Chained, Unchained
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
from contracts.frames import EVENT_FRAME, CommandFrame
from contracts.limits import AMOUNT_MINOR_MAX
from contracts.partitioning import SlotMap
from contracts.rejections import Rejection
from tests.drawing import drawn_at_once
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.core.machine import Decision, Machine, QueuedFrame
from writer.core.partition import Partition

KEY = b"k" * FINGERPRINT_KEY_BYTES
SLOTS = SlotMap.even(1)
AMOUNTS = (*range(1, 6), 1, 2**31, 2**53, 2**62, AMOUNT_MINOR_MAX - 1, AMOUNT_MINOR_MAX)
IDS = ("a", "b", "c", "d")
CURRENCIES = ("USD", "USD", "EUR")
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    drawn_at_once(OpenAccount, IDS, CURRENCIES, (0, 3, AMOUNT_MINOR_MAX)),
    drawn_at_once(
        Transfer,
        (*IDS, "unknown"),
        (*IDS, "unknown"),
        AMOUNTS,
        CURRENCIES,
        ("t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"),
    ),
)
FRAMES = st.lists(st.lists(COMMANDS, min_size=1, max_size=6), min_size=1, max_size=12)


@dataclass
class NaiveBank:
    """Says what must be answered, from first principles."""

    accounts: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    posted: dict[str, int] = field(default_factory=dict)
    decided: dict[tuple[str, str], tuple[Transfer, int]] = field(default_factory=dict)

    def answer(self, command: Command, sequence: int) -> tuple[str, int | Rejection | None]:
        if isinstance(command, OpenAccount):
            return self._open(command, sequence)
        name = (command.from_account_id, command.transaction_id)
        if name in self.decided:
            first, first_sequence = self.decided[name]
            if first != command:
                return "rejected", Rejection.IDEMPOTENCY_CONFLICT
            return "repeated", first_sequence
        self.decided[name] = (command, sequence)
        reason = self._reason(command)
        if reason is not None:
            return "rejected", reason
        self.posted[command.from_account_id] -= command.amount_minor
        self.posted[command.to_account_id] += command.amount_minor
        return "done", None

    def _open(self, command: OpenAccount, sequence: int) -> tuple[str, int | Rejection | None]:
        known = self.accounts.get(command.account_id)
        if known is None:
            self.accounts[command.account_id] = (
                command.currency,
                command.overdraft_limit_minor,
                sequence,
            )
            self.posted[command.account_id] = 0
            return "done", None
        if known[:2] != (command.currency, command.overdraft_limit_minor):
            return "rejected", Rejection.ACCOUNT_EXISTS
        return "repeated", known[2]

    def _reason(self, command: Transfer) -> Rejection | None:
        payer, payee = command.from_account_id, command.to_account_id
        reasons = {
            Rejection.SAME_ACCOUNT: payer == payee,
            Rejection.FROM_ACCOUNT_NOT_FOUND: payer not in self.accounts,
            Rejection.TO_ACCOUNT_NOT_FOUND: payee not in self.accounts,
        }
        if not any(reasons.values()):
            reasons |= {
                Rejection.CURRENCY_MISMATCH: not (
                    self.accounts[payer][0] == self.accounts[payee][0] == command.currency
                ),
                Rejection.INSUFFICIENT_FUNDS: self.posted[payer] - command.amount_minor
                < -self.accounts[payer][1],
                Rejection.BALANCE_LIMIT_EXCEEDED: self.posted[payee] + command.amount_minor
                > AMOUNT_MINOR_MAX,
            }
        return min((reason for reason, holds in reasons.items() if holds), default=None)


def said(event: Event) -> tuple[str, int | Rejection | None]:
    match event:
        case AccountOpened() | TransferCompleted():
            return "done", None
        case AccountOpenRepeated() | TransferRepeated():
            return "repeated", event.first_sequence
        case AccountOpenRejected() | TransferRejected():
            return "rejected", event.reason
        case _:
            raise AssertionError(event)


def new_machine() -> Machine[Partition]:
    return Machine(0, Partition(0, SLOTS))


def frame_of(decision: Decision) -> bytes:
    assert decision.data is not None
    return decision.data


def events_of(decision: Decision) -> list[Event]:
    return EVENT_FRAME.decode(frame_of(decision)).events


def posted(machine: Machine[Partition]) -> dict[str, int]:
    accounts = machine.rules.accounts
    return {account_id: accounts.posted_minor[row] for account_id, row in accounts.row_of.items()}


def check_money(machine: Machine[Partition]) -> None:
    """Per currency the posted amounts sum to 0, and no account is below its limit."""
    accounts = machine.rules.accounts
    sums: dict[str, int] = {}
    for row, currency in enumerate(accounts.currency):
        sums[currency] = sums.get(currency, 0) + accounts.posted_minor[row]
        assert accounts.posted_minor[row] >= -accounts.overdraft_limit_minor[row]
    assert not any(sums.values())


def live(frames: list[list[Command]]) -> tuple[Machine[Partition], list[Decision]]:
    machine = new_machine()
    written = [machine.open_epoch("writer", KEY)]
    for number, commands in enumerate(frames, 1):
        group = [QueuedFrame(number, 1_000 + number, CommandFrame("proxy", number * 10, commands))]
        written.append(machine.decide(group))
    return machine, written


@given(FRAMES)
@settings(max_examples=300)
def test_every_answer_is_the_naive_banks_and_money_is_conserved_at_every_step(
    frames: list[list[Command]],
) -> None:
    bank, machine = NaiveBank(), new_machine()
    machine.open_epoch("writer", KEY)
    sequence = 1
    for number, commands in enumerate(frames, 1):
        for command in commands:
            sequence += 1
            frame = CommandFrame("proxy", sequence, [command])
            events = machine.decide([QueuedFrame(number, 1_000, frame)])
            (event,) = events_of(events)
            assert said(event) == bank.answer(command, sequence)
            assert posted(machine) == bank.posted
            check_money(machine)


@given(FRAMES)
def test_replay_gives_the_same_state_and_tip_as_live(frames: list[list[Command]]) -> None:
    machine, written = live(frames)
    replayed = new_machine()
    for events in written:
        link = replayed.replay(frame_of(events))
        assert isinstance(link, Chained)
        assert link.tip == events.tip
    assert posted(replayed) == posted(machine)
    assert replayed.tip == machine.tip
    assert replayed.position == machine.position


@given(FRAMES, st.data())
def test_grouping_frames_changes_no_answer(
    frames: list[list[Command]], data: st.DataObject
) -> None:
    single, written = live(frames)
    grouped = new_machine()
    grouped.open_epoch("writer", KEY)
    queue = [
        QueuedFrame(number, 1_000 + number, CommandFrame("proxy", number * 10, commands))
        for number, commands in enumerate(frames, 1)
    ]
    events: list[Event] = []
    while queue:
        size = data.draw(st.integers(min_value=1, max_value=len(queue)))
        group, queue = queue[:size], queue[size:]
        events += events_of(grouped.decide(group))
    alone = [event for frame in written[1:] for event in events_of(frame)]
    assert events == alone
    assert posted(grouped) == posted(single)


@given(FRAMES, st.integers(min_value=0, max_value=11))
def test_frames_of_a_deposed_writer_change_nothing(frames: list[list[Command]], at: int) -> None:
    machine, written = live(frames)
    deposed, _ = live(frames[: at % len(frames)])
    late = deposed.decide(
        [QueuedFrame(99, 5_000, CommandFrame("proxy", 999, [OpenAccount("z", "USD", 0)]))]
    )
    before = posted(machine), machine.tip
    assert isinstance(machine.replay(frame_of(late)), Unchained)
    assert (posted(machine), machine.tip) == before
    assert isinstance(machine.replay(frame_of(written[-1])), Unchained)


def test_time_never_runs_backwards_when_the_brokers_clock_does() -> None:
    machine = new_machine()
    machine.open_epoch("writer", KEY)
    for number, at_ms in enumerate([5_000, 3_000, 7_000], 1):
        frame = CommandFrame("proxy", number, [OpenAccount(f"a{number}", "USD", 0)])
        machine.decide([QueuedFrame(number, at_ms, frame)])
        assert machine.tip.at_ms == max(5_000, at_ms)


def test_the_fingerprint_key_of_the_first_epoch_stays() -> None:
    machine = new_machine()
    opened = [machine.open_epoch("first", KEY), machine.open_epoch("second", b"x" * len(KEY))]
    for events in opened:
        (event,) = events_of(events)
        assert isinstance(event, EpochOpened)
        assert event.fingerprint_key == KEY
