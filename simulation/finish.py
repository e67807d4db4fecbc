"""The last checks of a run, when the faults are over and every client knows its outcome."""

import asyncio
from functools import partial
from random import Random
from typing import Any, Final

from broker.witness import read_witness, witness_paths
from contracts.parties import COORDINATOR
from contracts.queries import AccountQuery
from contracts.subjects import journal_stream
from proxy.service.gateway import BrokerGateway
from simulation.auditor import Auditor
from simulation.books import Violated, check
from simulation.processes import EVEN_SLOTS
from simulation.questions import Questions
from simulation.snapshots import check_snapshots
from simulation.states import state_of
from simulation.world import World
from writer.core.coordinator import Coordinator
from writer.core.machine import Machine
from writer.core.partition import Partition
from writer.service.reign import Reign

_UNFINISHED_S_MAX: Final = 60.0
_READY_S_MAX: Final = 60.0
_POLL_S: Final = 0.5
_SAMPLE: Final = 12


class Finish:
    """Waits until nothing is under way, and compares everybody's story with the books."""

    def __init__(
        self, world: World, auditor: Auditor, questions: Questions, chance: Random
    ) -> None:
        self._world = world
        self._auditor = auditor
        self._books = auditor.books
        self._chance = chance
        self._questions = questions

    async def check(self) -> None:
        """Raise Violated with the first thing that does not hold."""
        await self._until(self._under_way, _UNFINISHED_S_MAX)
        for transfer in self._books.transfers.values():
            check(not transfer.is_split_brained, f"{transfer.name}: the sides disagree")
        await self._until(self._not_ready, _READY_S_MAX)
        self._check_replay()
        for party in self._auditor.journals:
            check_snapshots(self._world.server, party, _rules(party))
        self._check_witnesses()
        await self._check_readers(self._gateway())
        for reader in self._world.readers:
            self._world.crash(reader)
        await self._check_readers(self._gateway())

    async def _until(self, problem: Any, for_s: float) -> None:
        """Return when there is no problem any more; there may be one for so long."""
        deadline_s = self._world.now_s() + for_s
        while (found := problem()) is not None:
            if self._world.now_s() > deadline_s:
                raise Violated(f"{found} {for_s} s after the last answer")
            await asyncio.sleep(_POLL_S)

    def _under_way(self) -> str | None:
        """Holds, locks and unfinished transfers must end by themselves."""
        for transfer in self._books.transfers.values():
            if transfer.is_open or transfer.ending is None:
                return f"{transfer.name} is unfinished ({transfer.payer}, {transfer.payee})"
        for account in self._books.accounts.values():
            if account.held_minor or account.incoming_minor or account.locked_by:
                return f"{account.account_id} is held or locked"
        return None

    def _not_ready(self) -> str | None:
        """Every party has a writer that knows of nothing unfinished, and a proxy is there."""
        reigns = self._reigns()
        if sorted(reign.party for reign in reigns) != sorted(self._auditor.journals):
            return "a writer is missing"
        for reign in reigns:
            if reign.in_flight or reign.machine.rules.unfinished_count:
                return f"party {reign.party} is not at rest"
            if reign.machine.tip.sequence != self._auditor.journals[reign.party].sequence:
                self._replace(reign)
                return f"party {reign.party} has another tip than its journal"
        return self._missing()

    def _replace(self, deposed: Reign[Partition] | Reign[Coordinator]) -> None:
        """End a writer that has nothing to append, and so does not notice that it is deposed."""
        for process in self._world.writers:
            if process.is_alive and deposed in process.reigns:
                self._world.crash(process)

    def _missing(self) -> str | None:
        """Processes that are not back yet."""
        if not all(proxy.is_alive and proxy.gateway for proxy in self._world.proxies):
            return "a proxy is missing"
        if not all(process.is_connected for process in self._world.alive):
            return "a process is not connected"
        return None

    def _gateway(self) -> BrokerGateway:
        gateway = self._chance.choice(self._world.proxies).gateway
        assert gateway is not None
        return gateway

    # --- writers ---

    def _reigns(self) -> list[Reign[Partition] | Reign[Coordinator]]:
        """The newest over each party."""
        newest: dict[int, Reign[Partition] | Reign[Coordinator]] = {}
        for process in self._world.writers:
            for reign in process.reigns if process.is_alive else ():
                known = newest.get(reign.party)
                if known is None or known.epoch < reign.epoch:
                    newest[reign.party] = reign
        return list(newest.values())

    def _check_replay(self) -> None:
        """A machine that reads the journal from its beginning is in the live machine's state."""
        for reign in self._reigns():
            party, machine = reign.party, reign.machine
            replayed: Machine[Any] = Machine(party, _rules(party)())
            for message in self._world.server.streams[journal_stream(party)].messages:
                replayed.replay(message.data)
            check(replayed.tip == machine.tip, f"party {party}: the tips differ")
            check(
                state_of(replayed.rules) == state_of(machine.rules),
                f"party {party}: the replayed state is not the live one",
            )
            if isinstance(machine.rules, Partition):
                self._check_accounts(party, machine.rules)

    def _check_accounts(self, party: int, rules: Partition) -> None:
        """The writer's columns are what the naive books have, and nothing is left set aside."""
        accounts = rules.accounts
        of = self._auditor.partition_of
        known = {account_id for account_id in self._books.accounts if of(account_id) == party}
        check(known == set(accounts.row_of), f"party {party} has other accounts")
        for account_id, row in accounts.row_of.items():
            posted = self._books.accounts[account_id].posted_minor
            has = (accounts.posted_minor[row], accounts.held_minor[row])
            check(has == (posted, 0), f"{account_id}: the writer has {has}, the books {posted}")
            check(accounts.incoming_minor[row] == 0, f"{account_id}: room is still set aside")
        check(not rules.sides.locked_rows, f"party {party}: an account is still locked")

    def _check_witnesses(self) -> None:
        """What anybody witnessed is in the journal."""
        for party, journal in self._auditor.journals.items():
            for process in [*self._world.writers, *self._world.readers]:
                for path in witness_paths(process.settings.data_dir, party):
                    witness = read_witness(path)
                    if witness is not None:
                        known = journal.hash_at.get(witness.sequence)
                        check(known == witness.hash, f"{path.name} contradicts the journal")

    # --- readers ---

    async def _check_readers(self, gateway: BrokerGateway) -> None:
        """What readers tell is what the books say, once they have read everything."""
        chance, books = self._chance, self._books
        for account_id in books.accounts:
            tip = self._auditor.journals[self._auditor.partition_of(account_id)].sequence
            now = AccountQuery(account_id, min_sequence=tip)
            await self._questions.account(gateway, now)
            then = AccountQuery(account_id, at_sequence=chance.randint(1, tip))
            await self._questions.account(gateway, then)
        accounts, transfers = list(books.accounts.values()), list(books.transfers.values())
        for account in chance.sample(accounts, min(_SAMPLE, len(accounts))):
            await self._questions.statement(gateway, account)
        for transfer in chance.sample(transfers, min(_SAMPLE, len(transfers))):
            await self._questions.transfer(gateway, transfer)
        await self._questions.nothing_unfinished(gateway)


def _rules(party: int) -> Any:
    if party == COORDINATOR:
        return partial(Coordinator, COORDINATOR, EVEN_SLOTS)
    return partial(Partition, party, EVEN_SLOTS)
