"""Which writer leads which party: leases, and how parties are dealt to the writers that live.

Leadership is for liveness only. Two writers may both believe for a moment that they lead a party;
what keeps money safe then is the journal's chain (contracts.chain), never a lease.

Writers of the same parties see the same records in the same order and deal by the same rule, so
they agree without talking. Times are of one's own monotonic clock, in ms: nobody compares clocks.

That nothing is heard of others says something only while this writer's own renewals come back:

    of its own           others' leases
    heard in time        end when they end
    one is late or lost  end as much later; nobody's is judged before the next one is heard
    more, or all         begin anew with the next one that is heard, a few times at most
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct

LEASE_RENEWED_MS: Final = 200
LEASE_MS: Final = 700
"""A writer whose renewal was not heard for so long is taken for dead. Two in a row may get lost."""

_DEAF_MS: Final = 2 * LEASE_RENEWED_MS
"""A writer that did not hear itself for so long may be deaf. No living writer's lease has ended by
then: its last renewal is older by one interval at most, and LEASE_MS is three and a half."""
_LONG_DEAF_MS: Final = LEASE_MS - LEASE_RENEWED_MS
"""By now such a lease may have ended; and it is no chance any more: two renewals are missing. So
it is while servers choose a leader for the bucket, and others may be heard much later then."""
_BEGUN_ANEW_MAX: Final = 3
"""How often a lease begins anew before its writer is heard. Who always hears itself late, as on a
machine that is too slow, would wait for ever for one that is dead."""

NOBODY: Final = ""
"""The leader in a record that an operator deleted."""

_WORTH_A_MOVE: Final = 2
"""Parties that one writer leads more than another: with one more the two would only swap."""


class _Lease(Struct):
    """A writer that lives."""

    ready: frozenset[int]
    """The parties that it does not lead and whose journal it has read to the end."""
    leads: frozenset[int]
    """With those that it hands over, until another is named."""
    is_new: bool
    """It still reads journals, or does not know who lives: others go first."""
    ends_at_ms: int
    begun_anew: int = 0
    """How often, since the writer was heard."""

    @property
    def says(self) -> tuple[object, ...]:
        """All but the times."""
        return self.ready, self.leads, self.is_new


class _Leader(Struct, frozen=True):
    """Who leads a party."""

    writer_id: str
    revision: int
    """Of the record that says so: who changes it must name it."""


_UNLED: Final = _Leader(NOBODY, 0)


class Leases:
    """What one writer has heard of all leases."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._leases: dict[str, _Lease] = {}
        self._heard_itself_ms: int | None = None
        """When a renewal of its own was heard last; None: never, or not since `read_anew`."""
        self._leaders: dict[int, _Leader] = {}
        self._unheard: set[str] = set()
        """Not heard since this writer did not hear itself for long: they may be dead."""
        self._is_leaving = False
        self._promised: dict[int, str] = {}
        """To whom this writer will hand over what it still leads: dealt with as if it were done."""

    # --- what was heard ---

    def renewed(
        self,
        writer_id: str,
        ready: Collection[int],
        leads: Collection[int],
        now_ms: int,
        *,
        is_new: bool = False,
    ) -> bool:
        """A writer lives, leads some parties and is ready for others.

        False: nothing follows from that but that its lease ends later.
        """
        lasts_ms, is_news = LEASE_MS, writer_id in self._unheard
        if writer_id == self._own_id:
            is_news |= self._give_time(now_ms)
            self._heard_itself_ms = now_ms
            lasts_ms = _DEAF_MS
        self._unheard.discard(writer_id)
        before = self._leases.get(writer_id)
        lease = _Lease(frozenset(ready), frozenset(leads), is_new, now_ms + lasts_ms)
        self._leases[writer_id] = lease
        return is_news or before is None or before.says != lease.says

    def _give_time(self, now_ms: int) -> bool:
        """Others could not be heard while this writer did not hear itself: see above.

        What was heard after a long time may be old: others are dealt nothing until heard again.
        That is what True says.
        """
        since_ms = self._heard_itself_ms
        if since_ms is None or now_ms - since_ms > _LONG_DEAF_MS:
            self._unheard = set(self._leases)
            for lease in self._leases.values():
                if lease.begun_anew < _BEGUN_ANEW_MAX:
                    lease.ready, lease.ends_at_ms = frozenset(), now_ms + LEASE_MS
                    lease.begun_anew += 1
            return True
        if now_ms - since_ms > _DEAF_MS:
            late_ms = now_ms - since_ms - LEASE_RENEWED_MS
            for lease in self._leases.values():
                lease.ends_at_ms = min(lease.ends_at_ms + late_ms, now_ms + LEASE_MS)
        return False

    def ended(self, writer_id: str) -> None:
        """A writer stopped of its own will."""
        self._leases.pop(writer_id, None)

    def led(self, party: int, writer_id: str, revision: int) -> None:
        """A party is led by a writer, or by NOBODY."""
        self._leaders[party] = _Leader(writer_id, revision)
        self._promised.pop(party, None)

    def read_anew(self) -> None:
        """What is recorded is heard once more from the beginning, as far as it is left.

        Who leads what is known from the last renewals meanwhile.
        """
        self._leases.pop(self._own_id, None)
        self._heard_itself_ms = None
        self._leaders.clear()
        self._promised.clear()

    def leaving(self) -> None:
        """This writer gives everything away and is dealt nothing any more."""
        self._is_leaving = True
        self._leases.pop(self._own_id, None)

    def expire(self, now_ms: int) -> None:
        """Let time pass."""
        over = [name for name, lease in self._leases.items() if lease.ends_at_ms <= now_ms]
        if self._own_id in over:
            del self._leases[self._own_id]
        if self.can_judge:
            for writer_id in over:
                del self._leases[writer_id]

    # --- what follows ---

    @property
    def can_judge(self) -> bool:
        """Whether this writer's own renewals are heard, and so those of others would be."""
        return self._own_id in self._leases or self._is_leaving

    @property
    def knows_the_living(self) -> bool:
        """Whether it knows of each death when all others do.

        Not when it is new or was deaf for long, until all are heard again, or for one lease.
        What a dead writer led should not be dealt to it meanwhile: it would take that for led.
        """
        return self._heard_itself_ms is not None and self._unheard.isdisjoint(self._leases)

    @property
    def next_end_ms(self) -> int | None:
        """When the next lease ends unless it is renewed; None while nobody's can be judged."""
        if not self.can_judge:
            return None
        return min((lease.ends_at_ms for lease in self._leases.values()), default=None)

    @property
    def living(self) -> Collection[str]:
        """The writers whose leases have not ended."""
        return self._leases.keys()

    @property
    def leaders(self) -> Mapping[int, str]:
        """The leader of each party that has one that lives.

        Where there is no record, as when it was lost with its server, its leader still says so.
        """
        found = {
            party: writer_id
            for writer_id, lease in sorted(self._leases.items())
            for party in lease.leads
            if party not in self._leaders
        }
        for party, leader in self._leaders.items():
            if leader.writer_id in self._leases:
                found[party] = leader.writer_id
        return found

    @property
    def led_parties(self) -> Collection[int]:
        """Those that a writer that lives leads, or was named for and is ready to.

        Who is named and neither leads nor is ready has failed, and recovers.
        """
        return {
            party
            for party, leader in self.leaders.items()
            if party in self._leases[leader].leads or party in self._leases[leader].ready
        }

    def leads(self, party: int) -> bool:
        """Whether this writer is named as the party's leader."""
        return self._leaders.get(party, _UNLED).writer_id == self._own_id

    @property
    def promised(self) -> Collection[int]:
        """The parties that this writer hands over: it is still named for them."""
        return self._promised.keys()

    def revision(self, party: int) -> int:
        """Of the record that names the party's leader, 0 if there is none."""
        return self._leaders.get(party, _UNLED).revision

    def to_take(self) -> list[int]:
        """The parties that are dealt to this writer and that nobody else leads who lives.

        With those that it leads and has no record of any more.
        """
        leaders = self.leaders
        return [
            party
            for party, writer_id in self._dealt().items()
            if writer_id == self._own_id == leaders.get(party, self._own_id)
            and self._leaders.get(party, _UNLED).writer_id not in self._leases
        ]

    def to_name_anew(self, party: int) -> dict[int, str]:
        """Who should lead a party that this writer is named for and does not lead.

        Whoever is ready, with the fewest parties; if nobody is, this writer once more. Not before
        it knows who lives: after it was deaf, others are ready only when they are heard again.
        """
        if not self.can_judge or not self.leads(party) or not self.knows_the_living:
            return {}
        load = Counter(self.leaders.values())
        ready = sorted(
            writer_id
            for writer_id, lease in self._leases.items()
            if party in lease.ready and writer_id != self._own_id
        )
        least = min(ready, key=lambda each: (self._leases[each].is_new, load[each]), default=None)
        return {party: self._own_id if least is None else least}

    def to_hand_over(self) -> dict[int, str]:
        """The parties that this writer leads and that are dealt to another, and to whom.

        They count as the other's from now on.
        """
        if self.can_judge:
            moved = {
                party: writer_id
                for party, writer_id in self._dealt().items()
                if writer_id != self._own_id and self.leads(party)
            }
            self._promised = self._kept_promises() | moved
        return dict(self._promised)

    def _kept_promises(self) -> dict[int, str]:
        """But for those to writers that are ready no more."""
        return {
            party: writer_id
            for party, writer_id in self._promised.items()
            if writer_id in self._leases and party in self._leases[writer_id].ready
        }

    def _dealt(self) -> Mapping[int, str]:
        if not self.can_judge:
            return {}
        ready = {writer_id: lease.ready for writer_id, lease in self._leases.items()}
        new = {writer_id for writer_id, lease in self._leases.items() if lease.is_new}
        return deal(ready, {**self.leaders, **self._kept_promises()}, new)


def deal(
    ready: Mapping[str, Collection[int]], leaders: Mapping[int, str], new: Collection[str] = ()
) -> dict[int, str]:
    """Give each party a writer that lives: evenly, and moving as few as that takes.

    ready says for which parties each writer that lives is ready, leaders who leads now. A leader
    keeps what it leads, ready or not, unless that is two more than another could take over. A
    party for which nobody is ready is not dealt. Who is new gets only what nobody leads and nobody
    else is ready for.
    """
    load = dict.fromkeys(sorted(ready), 0)
    dealt: dict[int, str] = {}
    for party, leader in sorted(leaders.items()):
        if leader in load:
            dealt[party] = leader
            load[leader] += 1
    for party in sorted(set().union(*ready.values()) - dealt.keys()):
        able = [writer_id for writer_id in load if party in ready[writer_id]]
        takers = [writer_id for writer_id in able if writer_id not in new] or able
        dealt[party] = taker = min(takers, key=load.__getitem__)
        load[taker] += 1
    settled = {writer_id: ready[writer_id] for writer_id in ready if writer_id not in new}
    while (move := _evening_move(settled, load, dealt)) is not None:
        party, taker = move
        load[dealt[party]] -= 1
        load[taker] += 1
        dealt[party] = taker
    return dealt


def _evening_move(
    ready: Mapping[str, Collection[int]], load: Mapping[str, int], dealt: Mapping[int, str]
) -> tuple[int, str] | None:
    """A party and who should have it instead, so that loads differ by less; None: they are even."""
    if max(load.values(), default=0) - min(load.values(), default=0) < _WORTH_A_MOVE:
        return None
    for taker in sorted(ready, key=load.__getitem__):
        for party, giver in sorted(dealt.items(), key=lambda each: (-load[each[1]], each[0])):
            if load[giver] - load[taker] >= _WORTH_A_MOVE and party in ready[taker]:
                return party, taker
    return None
