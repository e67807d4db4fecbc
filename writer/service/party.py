"""The loop of one party: stand by, reign while there is a mandate, stand by again.

A reign that ends because its mandate is withdrawn leaves a machine that is what the journal says:
it goes on as the standby's. After a fault it is dropped, and made anew from what is durable.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final, Generic, TypeVar

from broker.port import Broker, BrokerFault, BrokerUnfit
from broker.witness import Witness
from contracts.parties import party_title
from writer.core.machine import Machine
from writer.core.rules import Rules
from writer.service.mandate import Mandate
from writer.service.reign import Reign
from writer.service.snapshots import Snapshots
from writer.service.standby import Standby
from writer.service.steps import StepSender
from writer.service.turns import Turns

_log = logging.getLogger(__name__)

_REBUILD_DELAY_S_FIRST: Final = 0.2
_REBUILD_DELAY_S_MAX: Final = 1.0
_UNREADY_S_FIRST: Final = 1.0
_UNREADY_S_MAX: Final = 60.0
"""A writer that fails as the leader for some reason in itself would be dealt the party again and
again, and each time stop the reign of another: so after each failure it keeps away for longer."""
_PROVEN_S: Final = 10.0
"""After a reign that lasted, a fault is that of the moment."""


R = TypeVar("R", bound=Rules)


class PartyWriter(Generic[R]):
    """Writes one party's journal, reign after reign."""

    def __init__(
        self,
        broker: Broker,
        party: int,
        rules: Callable[[], R],
        *,
        steps: StepSender,
        turns: Turns,
        mandate: Mandate,
        writer_id: str,
        witness: Witness,
        snapshots: Snapshots[R],
        fresh_key: Callable[[], bytes],
    ) -> None:
        """The mandate says when to lead. Both makers are called when they are needed.

        `rules` makes the party's rules with no history, `fresh_key` FINGERPRINT_KEY_BYTES random
        bytes.
        """
        self.party = party
        self.snapshots = snapshots
        self._name = party_title(party)
        self._mandate = mandate
        self._writer_id = writer_id
        self._fresh_key = fresh_key
        self._standby = Standby(
            broker, party, rules, witness=witness, snapshots=snapshots, mandate=mandate
        )
        self._new_reign: Callable[[Machine[R], int], Reign[R]] = partial(
            Reign,
            broker,
            party,
            steps=steps,
            turns=turns,
            mandate=mandate,
            witness=witness,
            snapshots=snapshots,
        )
        self._reign: Reign[R] | None = None
        """The present one, from before it has begun."""
        self.reigning = asyncio.Event()
        self._reigning_since_s = 0.0
        """By the loop's clock; means something while it reigns."""

    @property
    def reign(self) -> Reign[R] | None:
        """The present one, None while there is none."""
        return self._reign if self.reigning.is_set() else None

    async def run(self) -> None:
        """Stand by, and write while there is a mandate, until cancelled.

        Raise Unfit or BrokerUnfit if the journal can't be trusted.
        """
        delay_s, unready_s = _REBUILD_DELAY_S_FIRST, 0.0
        while True:
            try:
                has_led = await self._lead_once(unready_s)
            except BrokerUnfit:
                raise
            except BrokerFault as fault:
                # As text: whoever keeps the record would keep the fault, and by that the machine.
                _log.warning("%s: rebuilding after %s", self._name, repr(fault))
                if self.reigning.is_set():
                    delay_s = _REBUILD_DELAY_S_FIRST
                if self._mandate.is_used:
                    unready_s = _unready_s(unready_s, self._reigned_s())
                self._mandate.resign()
            else:
                if has_led:
                    delay_s, unready_s = _REBUILD_DELAY_S_FIRST, 0.0
                continue
            finally:
                await self._end_reign()
                self._mandate.give_back()
            await asyncio.sleep(delay_s)  # noqa: TID251  # a broken broker is given air
            delay_s = min(2 * delay_s, _REBUILD_DELAY_S_MAX)

    async def _lead_once(self, unready_s: float) -> bool:
        """Stand by, lead, and keep the machine if nothing went wrong until the mandate ended.

        False: it ended before there was a reign.
        """
        machine, journal_sequence = await self._standby.until_mandate(unready_s)
        if self._mandate.use():  # else it ended while the last of the journal was read
            reign = self._reign = self._new_reign(machine, journal_sequence)
            if await reign.begin(self._writer_id, self._fresh_key()):
                self._reigning_since_s = asyncio.get_running_loop().time()
                self.reigning.set()
                await reign.run()
            journal_sequence = reign.journal_sequence
        self._standby.keep(machine, journal_sequence)
        return self.reigning.is_set()

    async def _end_reign(self) -> None:
        self.reigning.clear()
        reign, self._reign = self._reign, None
        if reign is not None:
            await reign.end()

    def _reigned_s(self) -> float:
        """How long the present reign has lasted; 0 while it has not begun."""
        if not self.reigning.is_set():
            return 0.0
        return asyncio.get_running_loop().time() - self._reigning_since_s

    async def settled(self) -> None:
        """Return once this party is led here, or elsewhere and could be taken over at once."""
        await self._mandate.was_ready.wait()
        here = asyncio.ensure_future(self.reigning.wait())
        elsewhere = asyncio.ensure_future(self._mandate.elsewhere.wait())
        await asyncio.wait({here, elsewhere}, return_when=asyncio.FIRST_COMPLETED)
        here.cancel()
        elsewhere.cancel()


def _unready_s(before_s: float, reigned_s: float) -> float:
    """How long to leave the party to others after a reign that failed."""
    if reigned_s >= _PROVEN_S:
        return 0.0
    return min(max(2 * before_s, _UNREADY_S_FIRST), _UNREADY_S_MAX)
