"""Standing by: the machine of a party that is ready to lead, kept at the end of its journal.

A reign starts from what is durable. A machine that led goes on as a standby only if its reign ended
with nothing in flight (`keep`), and the journal holds its last frame; else it is made anew, from a
snapshot and the journal. What is replayed is compared with what this process witnessed before.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from broker.port import Broker, BrokerFault, Following, StoredMessage
from broker.witness import Witness, Witnessed
from contracts.chain import Tip, Unchained
from contracts.frames import frame_hash
from contracts.parties import party_title
from contracts.subjects import journal_stream
from runtime.process import Unfit
from writer.core.machine import Machine
from writer.core.rules import Rules
from writer.service.mandate import Mandate
from writer.service.snapshots import Recovered, Snapshots

_log = logging.getLogger(__name__)

STANDSTILL_S_MAX: Final = 5.0
"""Without a single message, though there are more. What is followed then is followed anew."""
_STALE_SERVER_S: Final = 2.0
"""A server of a cluster that led before a pause notices within a heartbeat of 1 s."""

R = TypeVar("R", bound=Rules)


class Standby(Generic[R]):
    """Follows one party's journal while there is no mandate to lead it."""

    def __init__(
        self,
        broker: Broker,
        party: int,
        rules: Callable[[], R],
        *,
        witness: Witness,
        snapshots: Snapshots[R],
        mandate: Mandate,
    ) -> None:
        """`rules` makes the party's rules with no history, each time it is called."""
        self._broker = broker
        self._party = party
        self._name = party_title(party)
        self._rules = rules
        self._witness = witness
        self._snapshots = snapshots
        self._mandate = mandate
        self._journal_sequence = 0
        """Stream sequence of the last message replayed."""
        self._replayed = asyncio.Event()
        """More of the journal was replayed."""
        self._kept: tuple[Machine[R], int] | None = None
        """See `keep`."""
        self._unwitnessed: deque[Witnessed] = deque()
        """The witnessed frames that the replay has not come to yet, in order."""

    def keep(self, machine: Machine[R], stream_sequence: int) -> None:
        """Stand by next with a machine whose frames are all durable, as far as it led.

        stream_sequence is the place of its last frame in the journal's stream.
        """
        self._kept = machine, stream_sequence

    async def until_mandate(self, unready_s: float = 0.0) -> tuple[Machine[R], int]:
        """Replay the journal and go on following it until there is a mandate.

        For the first unready_s seconds after the replay the party is left to others who lead it.
        Gives the machine, which has then replayed all that the journal holds, and the stream
        sequence of the journal's last message.
        """
        recovered = await self._kept_or_restored()
        machine = recovered.machine
        newest = [] if self._witness.newest is None else [self._witness.newest]
        self._unwitnessed = deque(sorted([*recovered.contradicted, *newest]))
        await self._compare_earlier_witnesses(machine.tip)
        self._journal_sequence = recovered.stream_sequence
        following = await self._broker.follow(journal_stream(self._party), after=recovered.after)
        replaying = asyncio.create_task(self._replay_all(machine, following))
        try:
            await self._reach_end(replaying)
            await self._reach_witnessed(replaying)
            self._check_replayed(machine)
            self._mandate.set_read(is_read=True)
            if unready_s:
                await self._leave_to_others(replaying, unready_s)
            self._mandate.set_ready(is_ready=True)
            await _unless_ended(replaying, self._mandate.granted.wait())
            await self._reach_end(replaying)
        finally:
            self._mandate.set_ready(is_ready=False)
            replaying.cancel()
            await asyncio.gather(replaying, return_exceptions=True)
            await following.close()
        return machine, self._journal_sequence

    async def _kept_or_restored(self) -> Recovered[R]:
        recovered = await self._take_up_kept()  # a machine that is not taken up is let go here
        if recovered is None:
            self._mandate.set_read(is_read=False)
            recovered = await self._snapshots.restore(lambda: Machine(self._party, self._rules()))
        return recovered

    async def _take_up_kept(self) -> Recovered[R] | None:
        """None if there is none, or the journal does not hold its last frame."""
        kept, self._kept = self._kept, None
        if kept is None:
            return None
        machine, stream_sequence = kept
        machine.end_reign()
        last = await self._broker.stored_message(journal_stream(self._party), stream_sequence)
        if last is None or frame_hash(last.data) != machine.tip.hash:
            return None
        return Recovered(machine, last, [])

    async def _replay_all(self, machine: Machine[R], following: Following) -> None:
        async for messages in following:
            for message in messages:
                self._replay(machine, message)
                await asyncio.sleep(0)  # noqa: TID251  # who leads other parties goes first
            self._replayed.set()

    async def _leave_to_others(self, replaying: asyncio.Task[None], unready_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(unready_s):
                await _unless_ended(replaying, self._mandate.needed.wait())

    async def _reach_end(self, replaying: asyncio.Task[None]) -> None:
        """Return when everything is replayed that the journal holds by now."""
        last = (await self._broker.stream_state(journal_stream(self._party))).last_sequence
        while self._journal_sequence < last:
            reached = self._journal_sequence
            self._replayed.clear()
            try:
                async with asyncio.timeout(STANDSTILL_S_MAX):
                    await _unless_ended(replaying, self._replayed.wait())
            except TimeoutError as error:
                if self._journal_sequence > reached:
                    continue  # in the middle of a batch: many parties replay at the same time
                raise BrokerFault(
                    f"{self._name}: nothing follows {reached}, though the journal goes to {last}: "
                    "the copy that is followed may lack its end"
                ) from error

    async def _reach_witnessed(self, replaying: asyncio.Task[None]) -> None:
        """Give the end some time to come: a server that has just lost the lead tells of less."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_STALE_SERVER_S):
                while self._unwitnessed:
                    self._replayed.clear()
                    await _unless_ended(replaying, self._replayed.wait())

    def _check_replayed(self, machine: Machine[R]) -> None:
        machine.rules.check()
        if self._unwitnessed:
            self._refuse_missing(machine.tip.sequence, self._unwitnessed[-1].sequence)

    def _replay(self, machine: Machine[R], message: StoredMessage) -> None:
        link = machine.replay(message.data)
        self._journal_sequence = message.sequence
        while self._unwitnessed and machine.tip.sequence >= self._unwitnessed[0].sequence:
            self._compare_with_witness(machine.tip, self._unwitnessed.popleft())
        if isinstance(link, Unchained):
            _log.error(
                "%s: journal message %s does not count: %s",
                self._name,
                message.sequence,
                link.why,
            )

    async def _compare_earlier_witnesses(self, tip: Tip) -> None:
        """Those before a snapshot's tip are not replayed: their frames must be in their places."""
        while self._unwitnessed and self._unwitnessed[0].sequence <= tip.sequence:
            witnessed = self._unwitnessed.popleft()
            message = await self._broker.stored_message(
                journal_stream(self._party), witnessed.stream_sequence
            )
            if message is None or frame_hash(message.data) != witnessed.hash:
                self._refuse_history(witnessed.sequence)

    def _compare_with_witness(self, tip: Tip, witnessed: Witnessed) -> None:
        """The journal has reached the witnessed sequence: it must be the same history."""
        if (tip.sequence, tip.hash) != (witnessed.sequence, witnessed.hash):
            self._refuse_history(witnessed.sequence)

    def _refuse_history(self, sequence: int) -> None:
        raise Unfit(
            f"{self._name}: the journal holds another history than the one "
            f"that was durable at sequence {sequence}. {self._what_to_do()}"
        )

    def _refuse_missing(self, last: int, durable: int) -> None:
        raise Unfit(
            f"{self._name}: the journal ends at sequence {last}, but sequence "
            f"{durable} was durable. Sequences {last + 1} to {durable} are missing. "
            f"{self._what_to_do()}"
        )

    def _what_to_do(self) -> str:
        return (
            "Nothing was written. Stop the broker, keep a copy of its store, and restore stream "
            f"{journal_stream(self._party)} from a copy that has them."
        )


async def _unless_ended(work: asyncio.Task[None], event: Coroutine[Any, Any, Any]) -> None:
    """Wait for an event, and raise what ended the work that it depends on."""
    waiting = asyncio.ensure_future(event)
    try:
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return
    finally:
        waiting.cancel()
    work.result()
    raise BrokerFault("the journal is followed no more")
