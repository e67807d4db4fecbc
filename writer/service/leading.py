"""Keeps this process's lease, and tells its parties' writers when they lead and when no more.

    lease renewed ─▶ heard by all ─▶ dealt alike ─▶ claimed by one ─▶ heard: granted
                                        │ dealt to another, or claimed by another
                                        └─▶ withdrawn ─▶ given back ─▶ handed to the other

Nothing is asked for again and again: renewals and claims are pushed to everybody, and what a
missing renewal means follows from a timer.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Final

import msgspec

from broker.port import (
    APPEND_S_MAX,
    AppendRefused,
    Broker,
    BrokerFault,
    NoResponse,
    StoredMessage,
)
from contracts.parties import party_title
from contracts.subjects import LEASES_STREAM, leader_subject, lease_subject
from writer.core.leases import LEASE_RENEWED_MS, Leases
from writer.service.mandate import Mandate

_log = logging.getLogger(__name__)

_LEAVING_S_MAX: Final = APPEND_S_MAX + 1.0
"""How long a process that stops waits for its frames in flight and for NATS: while the servers
choose a leader for a journal, the parties are handed over when its frame is given up."""
_LEASE_KEPT_S: Final = 60
"""A dead writer's last renewal is gone by then; until then it is heard and not believed."""
_RENEWED_S: Final = LEASE_RENEWED_MS / 1_000
"""Whether one is stored need not be known: it is heard, or the next one is."""
_NAMED_S_MAX: Final = 0.5
"""What is not known to be stored by then was lost with a server: it is judged and sent anew."""
_REFUSED_MS_MAX: Final = 2_000
"""How long a claim may be refused while nothing else is heard than what it rests on. In a run of
`make chaos` a party stayed without a leader for minutes, its record unchanged, after a NATS server
was restarted: nobody may depend on the server's word that somebody else was faster."""
_READING_MS_MAX: Final = 60_000
"""How long a writer is new while it reads. It may be that a journal has no leader, or no end."""
_LEASE: Final = lease_subject("")


class _Renewal(msgspec.Struct, frozen=True):
    """What a lease says; see Leases.renewed."""

    ready: list[int]
    leads: list[int]
    is_new: bool = False


_RENEWALS: Final = msgspec.json.Decoder(_Renewal)


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
        self._granted: dict[int, int] = {}
        """By party, the revision of the record that its last mandate is from. Heard once more, as
        when the leases are read anew, it grants nothing that was resigned since."""
        self._refused: dict[int, tuple[int, int]] = {}
        """By party, the revision that a claim rested on, and since when it has been refused."""
        self._reading_since_ms: int | None = None
        """Since when there are journals that are not read."""
        self._told_new = True
        """What the last renewal said."""
        self._is_leaving = False

    async def run(self) -> None:
        """Keep the lease and take, keep and hand over parties until cancelled."""
        self._note_change()
        following = await self._broker.follow(LEASES_STREAM, after=None, may_rewind=True)
        try:
            async with asyncio.TaskGroup() as works:
                works.create_task(self._renew())
                works.create_task(self._act())
                async for messages in following:
                    for message in messages:
                        self._hear(message)
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
                self.leases.leaving()
                await self._hand_over()
                await self._put(
                    lease_subject(self._writer_id), b"", _LEAVING_S_MAX, lasts_s=_LEASE_KEPT_S
                )

    # --- what others hear of this process ---

    @property
    def ready_parties(self) -> list[int]:
        """The parties that this process does not lead and could lead at once."""
        return [party for party, mandate in self.mandates.items() if mandate.is_ready]

    @property
    def is_new(self) -> bool:
        """Whether others are better off to lead: this process reads journals, or who lives.

        Not for ever, as one of them may be out of reach.
        """
        since_ms = self._reading_since_ms
        is_reading = since_ms is not None and self._now_ms() - since_ms < _READING_MS_MAX
        return is_reading or not self.leases.knows_the_living

    @property
    def led_parties(self) -> list[int]:
        """The parties that this process leads, or hands over: nobody else needs to lead them."""
        promised = self.leases.promised
        return [
            party
            for party, mandate in self.mandates.items()
            if mandate.granted.is_set() or party in promised
        ]

    async def _renew(self) -> None:
        subject, loop, is_told = lease_subject(self._writer_id), asyncio.get_running_loop(), False
        while not self._is_leaving:
            self._renew_now.clear()
            next_s = loop.time() + _RENEWED_S
            self._told_new = self.is_new
            renewal = msgspec.json.encode(
                _Renewal(self.ready_parties, self.led_parties, self._told_new)
            )
            try:
                await self._put(subject, renewal, _RENEWED_S, lasts_s=_LEASE_KEPT_S)
                is_told = False
            except BrokerFault as fault:
                if not is_told:  # an outage is told once, not five times a second
                    _log.warning("the lease is not renewed: %s", fault)
                is_told = True
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await self._renew_now.wait()

    def _note_change(self) -> None:
        if all(mandate.is_read for mandate in self.mandates.values()):
            self._reading_since_ms = None
        elif self._reading_since_ms is None:
            self._reading_since_ms = self._now_ms()
        self._renew_now.set()
        self._changed.set()

    # --- what this process hears ---

    def _hear(self, message: StoredMessage) -> None:
        if message.sequence <= self._last_sequence:
            _log.info("the leases are read anew")
            self.leases.read_anew()
            self._refused.clear()
            self._changed.set()
        self._last_sequence = message.sequence
        if message.subject.startswith(_LEASE):
            self._hear_lease(message.subject.removeprefix(_LEASE), message.data)
            return
        self._changed.set()
        for party, mandate in self.mandates.items():
            if message.subject == leader_subject(party):
                self._hear_leader(party, mandate, message)

    def _hear_lease(self, writer_id: str, data: bytes) -> None:
        if data:
            renewal = _RENEWALS.decode(data)
            is_news = self.leases.renewed(
                writer_id, renewal.ready, renewal.leads, self._now_ms(), is_new=renewal.is_new
            )
        else:
            is_news = True
            self.leases.ended(writer_id)
        if is_news:
            self._changed.set()

    def _hear_leader(self, party: int, mandate: Mandate, message: StoredMessage) -> None:
        leader = message.data.decode("ascii")
        self._refused.pop(party, None)
        self.leases.led(party, leader, message.sequence)
        if leader == self._writer_id:
            if not self._is_leaving and self._granted.get(party) != message.sequence:
                self._granted[party] = message.sequence
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
            self._note_led()
            if self.is_new is not self._told_new:
                self._renew_now.set()
            promised = await self._hand_over()
            named = dict.fromkeys(self.leases.to_take(), self._writer_id)
            for party, mandate in self.mandates.items():
                if party not in promised and not mandate.granted.is_set():
                    named |= self.leases.to_name_anew(party)
            await self._name_leaders(named)
            await self._until_changed(_RENEWED_S if promised or named else inf)

    def _note_led(self) -> None:
        if self.leases.can_judge:
            led = self.leases.led_parties
            for party, mandate in self.mandates.items():
                mandate.note_led(is_led=party in led)

    async def _until_changed(self, for_s: float) -> None:
        """Return when something new was heard, a lease may end, or after some time."""
        ends_at_ms = self.leases.next_end_ms
        if ends_at_ms is not None:
            for_s = min(for_s, max(0, ends_at_ms - self._now_ms()) / 1_000)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if for_s == inf else for_s):
                await self._changed.wait()

    async def _hand_over(self) -> Collection[int]:
        """Withdraw what is dealt to others, and name them as leaders once it is given back."""
        successors = self.leases.to_hand_over()
        for party, successor in successors.items():
            mandate = self.mandates[party]
            if mandate.granted.is_set():
                _log.info("%s: to be led by %s", party_title(party), successor)
                mandate.withdraw()
        await self._name_leaders(successors)
        return successors.keys()

    async def _name_leaders(self, leaders: Mapping[int, str]) -> None:
        """All at once, but for parties whose frames may still be under way here.

        What this writer leads and has no record of is in use, and named all the same.
        """
        free = (
            self._name_leader(party, writer_id)
            for party, writer_id in leaders.items()
            if (writer_id == self._writer_id and not self._is_leaving)
            or not self.mandates[party].is_used
        )
        await asyncio.gather(*free)

    async def _name_leader(self, party: int, writer_id: str) -> None:
        revision = self.leases.revision(party)
        expected = None if self._is_refused_for_nothing(party, revision) else revision
        try:
            await self._put(
                leader_subject(party),
                writer_id.encode("ascii"),
                _NAMED_S_MAX,
                expected_revision=expected,
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

    async def _put(
        self,
        subject: str,
        data: bytes,
        timeout_s: float,
        *,
        expected_revision: int | None = None,
        lasts_s: int | None = None,
    ) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._broker.put(
                    subject, data, expected_revision=expected_revision, lasts_s=lasts_s
                )
        except TimeoutError as error:
            raise NoResponse(f"no answer within {timeout_s} s") from error
