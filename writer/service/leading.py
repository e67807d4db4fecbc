"""Keeps this process's lease, and tells its parties' writers when they lead and when no more.

    lease renewed ─▶ heard by all ─▶ dealt alike ─▶ claimed by one ─▶ heard: granted
                                        │ dealt to another, or claimed by another
                                        └─▶ withdrawn ─▶ given back ─▶ handed to the other

Nothing is asked for again and again: renewals and claims are pushed to everybody, and what a
missing renewal means follows from a timer.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from broker.port import AppendRefused, Broker, BrokerFault, StoredMessage
from contracts.parties import party_title
from contracts.subjects import LEASES_STREAM, leader_subject, lease_subject
from writer.core.leases import LEASE_RENEWED_MS, Leases

_log = logging.getLogger(__name__)

_LEAVING_S_MAX: Final = 2.0
"""How long a process that stops waits for its frames in flight and for NATS."""
_REFUSED_MS_MAX: Final = 2_000
"""How long a claim may be refused while nothing else is heard than what it rests on. In a run of
`make chaos` a party stayed without a leader for minutes, its record unchanged, after a NATS server
was restarted: nobody may depend on the server's word that somebody else was faster."""
_LEASE: Final = lease_subject("")
_READY: Final = msgspec.json.Decoder(list[int])


class Mandate:
    """The right to lead one party: Leading gives and withdraws it, the party's writer uses it."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.granted = asyncio.Event()
        self.withdrawn = asyncio.Event()
        self.withdrawn.set()
        self.is_ready = False
        """Whether the party could be led at once."""
        self.was_ready = asyncio.Event()
        self.elsewhere = asyncio.Event()
        """Another leads."""
        self.is_used = False
        """Whether something may be under way here in the leader's name."""
        self.is_doubted = False
        """The journal tells of another's reign: the claim must be made again."""
        self._changed = changed

    def grant(self) -> None:
        """Lead from now on."""
        self.elsewhere.clear()
        self.withdrawn.clear()
        self.granted.set()

    def withdraw(self) -> None:
        """Lead no more, as soon as what is under way is done."""
        self.granted.clear()
        self.withdrawn.set()

    def set_ready(self, *, is_ready: bool) -> None:
        """Tell everybody whether the party could be led here at once."""
        if self.is_ready != is_ready:
            self.is_ready = is_ready
            self._changed()
        if is_ready:
            self.was_ready.set()

    def use(self) -> bool:
        """Begin to act as the leader; False: it was withdrawn."""
        self.is_used = self.granted.is_set()
        return self.is_used

    def give_back(self) -> None:
        """Nothing is under way here: another may lead."""
        if self.is_used:
            self.is_used = False
            self._changed()

    def doubt(self) -> None:
        """The journal has another's reign: lead only if the claim can be made once more."""
        self.withdraw()
        self.is_doubted = True
        self._changed()


class Leading:
    """One process's part in who leads what."""

    def __init__(
        self, broker: Broker, writer_id: str, parties: Sequence[int], now_ms: Callable[[], int]
    ) -> None:
        """now_ms is a monotonic clock."""
        self._broker = broker
        self._writer_id = writer_id
        self._now_ms = now_ms
        self.leases = Leases(writer_id)
        self._renew_now = asyncio.Event()
        self._changed = asyncio.Event()
        self.mandates = {party: Mandate(self._note_change) for party in parties}
        self._last_sequence = 0
        self._refused: dict[int, tuple[int, int]] = {}
        """By party, the revision that a claim rested on, and since when it has been refused."""
        self._is_leaving = False

    async def run(self) -> None:
        """Keep the lease and take, keep and hand over parties until cancelled."""
        following = await self._broker.follow(LEASES_STREAM, after=None, may_rewind=True)
        try:
            async with asyncio.TaskGroup() as works:
                works.create_task(self._renew())
                works.create_task(self._act())
                async for messages in following:
                    for message in messages:
                        self._hear(message)
                    self._changed.set()
        finally:
            await following.close()

    async def leave(self) -> None:
        """Hand everything over, so that nobody has to wait for the lease to end."""
        self._is_leaving = True
        for mandate in self.mandates.values():
            mandate.withdraw()
        with suppress(TimeoutError, BrokerFault):
            async with asyncio.timeout(_LEAVING_S_MAX):
                while any(mandate.is_used for mandate in self.mandates.values()):
                    self._changed.clear()
                    await self._changed.wait()
                self.leases.ended(self._writer_id)
                await self._hand_over()
                await self._broker.put(lease_subject(self._writer_id), b"")

    # --- what others hear of this process ---

    async def _renew(self) -> None:
        subject = lease_subject(self._writer_id)
        while not self._is_leaving:
            self._renew_now.clear()
            ready = [party for party, mandate in self.mandates.items() if mandate.is_ready]
            try:
                await self._broker.put(subject, msgspec.json.encode(ready))
            except BrokerFault as fault:
                _log.warning("the lease is not renewed: %s", fault)
            with suppress(TimeoutError):
                async with asyncio.timeout(LEASE_RENEWED_MS / 1_000):
                    await self._renew_now.wait()

    def _note_change(self) -> None:
        self._renew_now.set()
        self._changed.set()

    # --- what this process hears ---

    def _hear(self, message: StoredMessage) -> None:
        if message.sequence <= self._last_sequence:
            _log.warning("the leases were lost with their server")
            self.leases.lost()
        self._last_sequence = message.sequence
        if message.subject.startswith(_LEASE):
            self._hear_lease(message.subject.removeprefix(_LEASE), message.data)
            return
        for party, mandate in self.mandates.items():
            if message.subject == leader_subject(party):
                self._hear_leader(party, mandate, message)

    def _hear_lease(self, writer_id: str, data: bytes) -> None:
        if data:
            self.leases.renewed(writer_id, _READY.decode(data), self._now_ms())
        else:
            self.leases.ended(writer_id)

    def _hear_leader(self, party: int, mandate: Mandate, message: StoredMessage) -> None:
        leader = message.data.decode("ascii")
        self.leases.led(party, leader, message.sequence)
        if leader == self._writer_id:
            mandate.grant()
            return
        if leader:
            mandate.elsewhere.set()
        if mandate.granted.is_set():
            _log.warning("%s: %s leads now", party_title(party), leader or "nobody")
            mandate.withdraw()

    # --- what follows ---

    async def _act(self) -> None:
        while not self._is_leaving:
            self._changed.clear()
            self.leases.expire(self._now_ms())
            await self._hand_over()
            doubted = [party for party, each in self.mandates.items() if each.is_doubted]
            for party in [*self.leases.to_take(), *doubted]:
                await self._claim(party)
            await self._until_changed()

    async def _until_changed(self) -> None:
        """Return when something was heard, or a lease ends."""
        ends_at_ms = self.leases.next_end_ms
        left_s = None if ends_at_ms is None else max(0, ends_at_ms - self._now_ms()) / 1_000
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._changed.wait()

    async def _claim(self, party: int) -> None:
        mandate = self.mandates[party]
        if not mandate.is_used:
            mandate.is_doubted = False
            await self._name_leader(party, self._writer_id)

    async def _hand_over(self) -> None:
        """Withdraw what is dealt to others, and name them as leaders once it is given back."""
        for party, successor in self.leases.to_hand_over().items():
            mandate = self.mandates[party]
            if mandate.granted.is_set():
                _log.info("%s: to be led by %s", party_title(party), successor)
                mandate.withdraw()
            if not mandate.is_used:
                await self._name_leader(party, successor)

    async def _name_leader(self, party: int, writer_id: str) -> None:
        revision = self.leases.revision(party)
        expected = None if self._is_refused_for_nothing(party, revision) else revision
        try:
            await self._broker.put(
                leader_subject(party), writer_id.encode("ascii"), expected_revision=expected
            )
        except AppendRefused as refusal:  # mostly, another was faster, and will be heard
            if self._refused.get(party, (-1, 0))[0] != revision:
                self._refused[party] = revision, self._now_ms()
                _log.info("%s: its leader is not named: %s", party_title(party), refusal)
        except BrokerFault as fault:
            _log.warning("%s: its leader is not named: %s", party_title(party), fault)
        else:
            self._refused.pop(party, None)

    def _is_refused_for_nothing(self, party: int, revision: int) -> bool:
        """Whether to name the leader unconditionally: two may then do so, and the last one leads.

        That costs a reign, never money: a frame counts by its chain and its epoch alone.
        """
        refused_revision, since_ms = self._refused.get(party, (-1, 0))
        if refused_revision != revision or self._now_ms() - since_ms < _REFUSED_MS_MAX:
            return False
        _log.warning("%s: its leader is named without a condition", party_title(party))
        return True
