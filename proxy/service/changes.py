"""Hears what changes on watched accounts, says to readers what is watched, asks what was missed."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from broker.port import Broker, Disconnected, Subscription
from contracts.frames import CHANGE_FRAME, LISTEN, Undecodable
from contracts.limits import CHANGES_QUERY_ACCOUNTS_MAX, LISTEN_EVERY_MS, REPLAY_CHANGES_MAX
from contracts.partitioning import SlotMap
from contracts.queries import ChangesAnswer, ChangesQuery, Mark, NotFound
from contracts.subjects import change_subject, listen_subject
from proxy.core.watch import Ask, Refused, Told
from proxy.core.watching import Watching, sequence_asked_for
from proxy.ports import Listener, NoAnswer, NoRoomToWatch, Telling
from proxy.service.gateway import BrokerGateway

_log = logging.getLogger(__name__)

WATCHES_MAX: Final = 100_000
"""Accounts times listeners of one process."""

_SAID_AGAIN_S: Final = 0.02
"""Slots that come within this time are said together: ten thousand clients may come at once."""

_QUERIES_MAX: Final = 4
"""Queries about what was missed that are out at a time to the readers of one partition. Where there
is no reader they wait in vain: other partitions don't wait for them."""

_MORE_QUERIES_MAX: Final = 32
"""Queries that are out beside one for each partition, in the whole process."""


class BrokerWatches:
    """Port `Watches` over a broker. One per proxy process."""

    def __init__(
        self, broker: Broker, proxy_id: str, slots: SlotMap, gateway: BrokerGateway
    ) -> None:
        self._broker = broker
        self._gateway = gateway
        self._watching: Watching[Listener] = Watching(proxy_id, slots)
        self._watches = 0
        self._to_say, self._to_ask = asyncio.Event(), asyncio.Event()
        self._subscriptions: dict[int, Subscription] = {}
        self._out: Counter[int] = Counter()
        """Queries that are out, by partition."""
        self._more_out = 0
        """Those of them that are not the only one of their partition."""

    async def run(self) -> None:
        """Hear, say and ask until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._say_what_is_new())
            tasks.create_task(self._say_again())
            tasks.create_task(self._ask_what_is_missing(tasks))

    def watch(self, listener: Listener, account_id: str, from_sequence: int | None) -> None:
        """See the port."""
        if self._watches >= WATCHES_MAX:
            raise NoRoomToWatch
        self._watches += 1
        self._tell(self._watching.subscribe(listener, account_id, from_sequence))
        self._go_on()

    def unwatch(self, listener: Listener, account_id: str) -> None:
        """See the port."""
        self._watches -= 1
        self._watching.unsubscribe(listener, account_id)
        self._go_on()

    # --- telling ---

    def _tell(self, told: Iterable[Told[Listener]]) -> None:
        for listeners, news in told:
            telling = Telling(news)
            if isinstance(news, Refused):
                self._watches -= len(listeners)
            for listener in listeners:
                listener.tell(telling)

    def _take(self, data: bytes) -> None:
        try:
            frame = CHANGE_FRAME.decode(data)
        except Undecodable as error:
            _log.error("changes dropped: %s", error)
            return
        self._tell(self._watching.take(frame))
        self._go_on()

    def _go_on(self) -> None:
        """Let the loops do what there is to do now."""
        if self._watching.has_to_say():
            self._to_say.set()
        if self._watching.to_be_asked():
            self._to_ask.set()

    # --- saying ---

    async def _say_what_is_new(self) -> None:
        while True:
            await self._to_say.wait()
            self._to_say.clear()
            listens = self._watching.listens()
            for partition, listen in listens:
                await self._hear_from(partition, is_watched=bool(listen.slots))
                await self._say(partition, LISTEN.encode(listen))
            await asyncio.sleep(_SAID_AGAIN_S)  # noqa: TID251  # gathers what comes meanwhile

    async def _say_again(self) -> None:
        """Whatever was lost, in either direction, is noticed by this."""
        while True:
            await asyncio.sleep(LISTEN_EVERY_MS / 1_000)  # noqa: TID251  # a heartbeat
            self._tell(self._watching.beat())
            self._go_on()
            for partition in self._watching.partitions:
                await self._say(partition, LISTEN.encode(self._watching.listen(partition)))

    async def _say(self, partition: int, listen: bytes) -> None:
        try:
            await self._broker.publish(listen_subject(partition), listen)
        except Disconnected:
            _log.debug("partition %s: not told who listens; it will be again", partition)

    async def _hear_from(self, partition: int, *, is_watched: bool) -> None:
        """Get changes of a partition while somebody watches it, and only then."""
        if is_watched == (partition in self._subscriptions):
            return
        if not is_watched:
            await self._subscriptions.pop(partition).end()
            return
        await self._broker.connected()
        subject = change_subject(partition)
        self._subscriptions[partition] = await self._broker.subscribe(subject, self._take)

    # --- asking ---

    async def _ask_what_is_missing(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._to_ask.wait()
            self._to_ask.clear()
            for partition in self._watching.to_be_asked():
                for asks in self._asks(partition):
                    tasks.create_task(self._ask(partition, asks))

    def _asks(self, partition: int) -> Iterator[list[Ask]]:
        """What to ask now, query by query; the rest stays where it is, without a copy."""
        while self._may_query(partition):
            asks = self._watching.asks(partition, CHANGES_QUERY_ACCOUNTS_MAX)
            if not asks:
                return
            self._more_out += self._out[partition] > 0
            self._out[partition] += 1
            yield asks

    def _may_query(self, partition: int) -> bool:
        out = self._out[partition]
        return out == 0 or (out < _QUERIES_MAX and self._more_out < _MORE_QUERIES_MAX)

    async def _ask(self, partition: int, asks: Sequence[Ask]) -> None:
        answer = None
        try:
            found = await self._gateway.ask_partition(partition, _query(asks))
            assert isinstance(found, ChangesAnswer | NotFound)
            answer = found
        except NoAnswer as fault:
            _log.warning("partition %s: what was missed is asked again: %s", partition, fault)
        finally:
            self._out[partition] -= 1
            self._more_out -= self._out[partition] > 0
        told = self._watching.answered(partition, asks, answer)
        self._tell(told)
        self._go_on()


def _query(asks: Sequence[Ask]) -> ChangesQuery:
    return ChangesQuery(
        marks=[Mark(ask.account_id, ask.after_sequence) for ask in asks],
        limit=REPLAY_CHANGES_MAX,
        min_sequence=sequence_asked_for(asks),
    )
