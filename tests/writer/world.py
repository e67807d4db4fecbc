"""Machines of several partitions and the coordinator, with the messages between them in a bag.

No broker and no loop: a test says which message arrives when, how often, or never, and who crashes.
"""

from dataclasses import dataclass, field
from functools import cache
from random import Random

from contracts.chain import Chained
from contracts.commands import Command, OpenAccount, Transfer
from contracts.coordination import Coordination, Step
from contracts.events import Event, TransferFinished
from contracts.frames import EVENT_FRAME, CommandFrame, StepFrame
from contracts.limits import PARTY_ANSWER_TICKS_MAX
from contracts.parties import COORDINATOR, parties
from contracts.partitioning import SlotMap
from contracts.rejections import Rejection
from contracts.steps import StepMessage, TakeStep, Tick
from simulation.states import state_of
from writer.core.coordination import WAYS
from writer.core.coordinator import Coordinator
from writer.core.idempotency import FINGERPRINT_KEY_BYTES
from writer.core.machine import Decision, Machine, QueuedFrame
from writer.core.partition import Partition
from writer.core.rules import Outgoing

KEY = b"k" * FINGERPRINT_KEY_BYTES
COORDINATED = [way for way, table in WAYS.items() if table.lifecycle is not None]
"""The ways that a coordinator drives."""

even_slots = cache(SlotMap.even)
"""Made once for all worlds: there are thousands, and a map takes longer to make than a world."""

Rules = Partition | Coordinator


@dataclass
class World:
    """A wallet of some partitions."""

    partition_count: int
    now_ms: int = 1_000
    bag: list[Outgoing] = field(default_factory=list)
    """Messages under way."""
    journals: dict[int, list[bytes]] = field(default_factory=dict)
    machines: dict[int, Machine[Rules]] = field(default_factory=dict)
    _standbys: dict[int, tuple[Machine[Rules], int]] = field(default_factory=dict)
    """Machines that led, and how many frames of the journal they have read."""
    _numbers: int = 0

    def __post_init__(self) -> None:
        self.slots = even_slots(self.partition_count)
        for party in parties(self.partition_count):
            self.journals[party] = []
            self.restart(party)

    def account(self, name: str, partition: int) -> str:
        """An account id of a partition that begins with the name."""
        tried = (f"{name}{number}" for number in range(10_000))
        return next(each for each in tried if self.slots.partition_of(each) == partition)

    # --- what happens ---

    def restart(self, party: int) -> None:
        """Forget a machine and replay its journal."""
        self._lead(party, self._replayed(party))

    def hand_over(self, party: int) -> None:
        """Let the machine that led before, or a new one, follow the one that leads."""
        led, journal = self.machines[party], self.journals[party]
        led.end_reign()
        heir = self._standbys.pop(party, None)
        self._standbys[party] = led, len(journal)
        if heir is None:
            self.restart(party)
            return
        machine, read = heir
        for data in journal[read:]:
            assert isinstance(machine.replay(data), Chained)
        assert state_of(machine) == state_of(self._replayed(party))
        self._lead(party, machine)

    def command(self, *commands: Command) -> list[Event]:
        """Send commands of one partition in a frame; give the events that they cause now."""
        (party,) = {self.slots.partition_of(each.routing_account_id) for each in commands}
        frame = CommandFrame("proxy", self._number(len(commands)), list(commands))
        return self._queue(party, frame)

    def step(self, party: int, *steps: StepMessage) -> list[Event]:
        """Let messages arrive at a party."""
        frame = StepFrame("writer.x", self._number(len(steps)), list(steps))
        return self._queue(party, frame)

    def deliver(self, step: Step | None = None) -> list[Event]:
        """Let the oldest message arrive, or the oldest that asks for a step."""
        asks = [
            each
            for each in self.bag
            if step is None or (isinstance(each.message, TakeStep) and each.message.step is step)
        ]
        self.bag.remove(asks[0])
        return self.step(asks[0].party, asks[0].message)

    def deliver_all(self) -> list[Event]:
        """Let everything arrive, and what that causes, in order."""
        events: list[Event] = []
        while self.bag:
            events += self.deliver()
        return events

    def lose_all(self) -> None:
        """Forget what is under way."""
        self.bag.clear()

    def pass_time(self, milliseconds: int) -> list[Event]:
        """Let the broker's clock go on and everybody know."""
        self.now_ms += milliseconds
        return [event for party in self.machines for event in self.tick(party)]

    def tick(self, party: int) -> list[Event]:
        """Let a party know that time passes."""
        return self.step(party, Tick(self.machines[party].tip.epoch))

    def give_up(self) -> None:
        """Let so many ticks pass that the coordinator waits no longer."""
        for _ in range(PARTY_ANSWER_TICKS_MAX + 1):
            self.tick(COORDINATOR)

    def settle(self) -> None:
        """Let time pass and messages arrive until nothing is unfinished."""
        for _ in range(200):
            self.deliver_all()
            if self.is_settled():
                return
            self.pass_time(1_000)
        raise AssertionError("something is never finished")

    # --- what is seen ---

    def partitions(self) -> list[Partition]:
        rules = (self.machines[party].rules for party in range(self.partition_count))
        return [each for each in rules if isinstance(each, Partition)]

    def coordinator(self) -> Coordinator:
        rules = self.machines[COORDINATOR].rules
        assert isinstance(rules, Coordinator)
        return rules

    def is_settled(self) -> bool:
        waits = any(machine.waiting_count for machine in self.machines.values())
        partitions = self.partitions()
        busy = any(each.sides.payers or each.sides.payee_count for each in partitions)
        return not (waits or busy or self.coordinator().running or self.bag)

    def columns(self, account_id: str) -> tuple[int, int, int]:
        """Posted, held and incoming minor units."""
        accounts = self.partitions()[self.slots.partition_of(account_id)].accounts
        row = accounts.row_of[account_id]
        return accounts.posted_minor[row], accounts.held_minor[row], accounts.incoming_minor[row]

    def events(self, party: int) -> list[Event]:
        return [event for data in self.journals[party] for event in EVENT_FRAME.decode(data).events]

    def check_money(self) -> None:
        """Posted amounts and what left the partition sum to 0, and nobody is below a limit."""
        for partition in self.partitions():
            accounts = partition.accounts
            sums = dict(partition.sides.net_sent_minor)
            for row, currency in enumerate(accounts.currency):
                sums[currency] = sums.get(currency, 0) + accounts.posted_minor[row]
                assert accounts.available_minor(row) >= 0
                assert accounts.room_minor(row) >= 0
            assert not any(sums.values()), sums

    def check_settled(self) -> None:
        """Nothing is in flight, held, reserved or locked anywhere."""
        self.check_money()
        in_flight: dict[str, int] = {}
        for partition in self.partitions():
            assert not partition.sides.locked_rows
            assert not any(partition.accounts.held_minor)
            assert not any(partition.accounts.incoming_minor)
            for currency, sent in partition.sides.net_sent_minor.items():
                in_flight[currency] = in_flight.get(currency, 0) + sent
        assert not any(in_flight.values()), in_flight

    # --- inside ---

    def _replayed(self, party: int) -> Machine[Rules]:
        rules: Rules
        if party == COORDINATOR:
            rules = Coordinator(party, self.slots)
        else:
            rules = Partition(party, self.slots)
        machine: Machine[Rules] = Machine(party, rules)
        for data in self.journals[party]:
            assert isinstance(machine.replay(data), Chained)
        return machine

    def _lead(self, party: int, machine: Machine[Rules]) -> None:
        self.machines[party] = machine
        self._written(party, machine.open_epoch("writer", KEY))

    def _number(self, count: int) -> int:
        first = self._numbers + 1
        self._numbers += count
        return first

    def _queue(self, party: int, frame: CommandFrame | StepFrame) -> list[Event]:
        decision = self.machines[party].decide(
            [QueuedFrame(frame.first_number, self.now_ms, frame)]
        )
        self._written(party, decision)
        return [] if decision.data is None else EVENT_FRAME.decode(decision.data).events

    def _written(self, party: int, decision: Decision) -> None:
        if decision.data is not None:
            self.journals[party].append(decision.data)
        self.bag += decision.outgoing


def opened(world: World, **partitions: int) -> dict[str, str]:
    """Open an account with an overdraft of 100 USD in each partition named."""
    ids = {name: world.account(name, partition) for name, partition in partitions.items()}
    for account_id in ids.values():
        world.command(OpenAccount(account_id, "USD", 100))
    return ids


def transfer(
    payer: str,
    payee: str,
    amount: int,
    transaction_id: str = "t1",
    way: Coordination = Coordination.CHOREOGRAPHY,
) -> Transfer:
    """A transfer of USD."""
    return Transfer(payer, payee, amount, "USD", transaction_id, way)


def outcomes(world: World, payer: str) -> list[Rejection | None]:
    """The reasons of all outcomes in the journal of the payer's partition."""
    events = world.events(world.slots.partition_of(payer))
    return [event.reason for event in events if isinstance(event, TransferFinished)]


def shake(world: World, chance: Random, turns: int) -> None:
    """Let messages arrive in any order, twice or never, writers crash, hand over and time pass."""
    for _ in range(turns):
        kind = chance.random()
        if kind < 0.75 and world.bag:
            at = chance.randrange(len(world.bag))
            sent = world.bag[at] if chance.random() < 0.15 else world.bag.pop(at)
            world.step(sent.party, sent.message)
        elif kind < 0.80 and world.bag:
            world.bag.pop(chance.randrange(len(world.bag)))
        elif kind < 0.90:
            world.pass_time(chance.choice([100, 1_000, 6_000, 40_000]))
        elif kind < 0.95:
            world.restart(chance.choice(list(world.machines)))
        else:
            world.hand_over(chance.choice(list(world.machines)))
        world.check_money()
