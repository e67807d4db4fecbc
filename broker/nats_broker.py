"""The broker port over nats-py: the connection, and its streams."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from functools import partial
from random import shuffle
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec
import nats
import nats.aio.client
import nats.errors
from nats.aio.msg import Msg

from broker import nats_slot_map
from broker.nats_appends import Appends, elected_ago_s, stored_revision
from broker.nats_following import NatsFollowing
from broker.nats_messages import NatsMessages
from broker.nats_slot_map import EXPECTED_LAST_OF_SUBJECT, provide_slot_map, read_slot_map
from broker.nats_snapshots import NatsSnapshots
from broker.nats_streams import (
    API_TIMEOUT_S,
    check_version,
    provide_stream,
    provide_streams,
    stored_message,
)
from broker.nats_wire import Client
from broker.port import (
    APPEND_S_MAX,
    BrokerFault,
    Disconnected,
    Following,
    NoResponse,
    NotTaken,
    StoredMessage,
    StreamState,
)
from contracts.partitioning import SlotMap
from contracts.subjects import (
    JOURNAL_STREAM_PREFIX,
    LEADER_ELECTED,
    QUEUE_STREAM_PREFIX,
    journal_subject_of,
)

_log = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S: Final = 10.0
_RECONNECT_WAIT_S: Final = 0.1
_OFFER_TIMEOUT_S: Final = 0.5
_PUT_TIMEOUT_S: Final = 1.0
"""What a key tells is old by then: its owner puts it again."""
_TAKING_S: Final = 0.1
"""A stream's new leader tells of itself a little before it takes anything."""
_STORE_FAILED: Final = 10077
_PING_S: Final = 1
_PINGS_MAX: Final = 2
"""A server that is silent for 3 s is left for another: sooner than the others choose leaders."""
_NO_REPLICAS: Final = 1
_LASTS: Final = "Nats-TTL"
_ABSENT_ASKED_AGAIN_S: Final = (0.1, 0.4, 1.0, 1.0)
"""Pauses: a server that led before it stood still notices within a heartbeat of 1 s."""
_READ_BYTES: Final = 256 * 1024
"""Of a connection at a time, at most. nats-py would read 32 KiB, and has no option for it: so a
snapshot of 346 MB would take half a second longer."""
nats.aio.client.DEFAULT_BUFFER_SIZE = _READ_BYTES


class NatsBroker(NatsMessages):
    """One connection. Made by `connect`; gives up only when closed."""

    def __init__(self, client: Client, *, replicas: int, append_timeout_s: float) -> None:
        super().__init__(client)
        self._replicas = replicas
        has_copies = replicas > _NO_REPLICAS
        self._appends = Appends(client, timeout_s=append_timeout_s, has_copies=has_copies)
        self._followings: set[NatsFollowing] = set()
        self._reconnected = asyncio.Event()
        self._lost = asyncio.Event()
        self._hears_elections = False
        self._loss_handlers: list[Callable[[str | None], None]] = []
        self._queue_configs: dict[str, dict[str, Any]] = {}
        self._asked = partial(self._request, timeout_s=API_TIMEOUT_S)
        self._snapshots = NatsSnapshots(self.api, self._asked, self._follow_subject)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str,
        role: str,
        replicas: int = _NO_REPLICAS,
        append_timeout_s: float = APPEND_S_MAX,
    ) -> Self:
        """Connect as a role, whose inbox is its own; raise BrokerFault if that takes too long.

        `url` is one address or several, separated by commas: those of one cluster, of which any
        will do. `replicas` is the number of copies of the streams that this connection makes,
        `append_timeout_s` the time after which it is not known what became of an append.
        Nothing is buffered while disconnected (pending_size=-1): a frame that leaves late would
        be a deposed writer's frame.
        """
        client = Client()
        broker = cls(client, replicas=replicas, append_timeout_s=append_timeout_s)
        servers = [each.strip() for each in url.split(",")]
        shuffle(servers)  # here, not at each loss: the lost one is tried after all others
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await client.connect(
                    servers,
                    dont_randomize=True,
                    name=name,
                    inbox_prefix=f"_INBOX_{role}",
                    pending_size=-1,
                    allow_reconnect=True,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT_S,  # type: ignore[arg-type] # takes floats
                    connect_timeout=2,
                    ping_interval=_PING_S,
                    max_outstanding_pings=_PINGS_MAX,
                    error_cb=broker._on_error,
                    disconnected_cb=broker._on_disconnected,
                    reconnected_cb=broker._on_reconnected,
                    closed_cb=broker._on_closed,
                )
        except (OSError, nats.errors.Error, TimeoutError) as error:
            where = ", ".join(urlsplit(each).netloc.rpartition("@")[2] for each in servers)
            await client.close()
            raise BrokerFault(f"no broker at {where}, or it does not know us: {error!r}") from error
        check_version(client._server_info["version"])  # noqa: SLF001  # else only a parsed triple
        await broker._appends.start()
        return broker

    async def offer(self, subject: str, data: bytes) -> None:
        """See the port. A stream's leader alone listens on its subjects."""
        if not self._client.is_connected:
            raise Disconnected(f"not sent to {subject}: there is no connection")
        try:
            answer = await self._request(subject, data, timeout_s=_OFFER_TIMEOUT_S)
        except NoResponse as fault:
            if isinstance(fault.__cause__, nats.errors.NoRespondersError):
                raise NotTaken(f"no stream takes {subject} now") from fault
            raise
        error = msgspec.json.decode(answer).get("error")
        if error and error.get("err_code") == _STORE_FAILED:  # other servers may have stored it
            raise NoResponse(f"{subject}: {error.get('description')}")
        if error:
            raise NotTaken(f"{subject} is not taken now: {error.get('description')}")

    async def append(
        self, subject: str, data: bytes, *, expected_last_sequence: int
    ) -> asyncio.Future[int]:
        """See the port."""
        try:
            return await self._appends.send(subject, data, expected_last_sequence)
        except nats.errors.Error as error:
            raise Disconnected(f"not sent to {subject}: {error!r}") from error

    async def provide_streams(self, partition_count: int) -> None:
        """See the port."""
        self._queue_configs = await provide_streams(self.api, partition_count, self._replicas)

    async def provide_slot_map(self, wanted: SlotMap) -> SlotMap:
        """See the port."""
        return await provide_slot_map(self.api, self._asked, wanted, self._replicas)

    async def slot_map(self) -> SlotMap:
        """See the port."""
        return await read_slot_map(self.api)

    async def noted_restore(self) -> str | None:
        """The seal of the backup that is being restored here. Raise BrokerUnfit: a wallet is."""
        return await nats_slot_map.noted_restore(self.api)

    async def begin_restore(self, seal: str) -> None:
        """Keep writers and proxies out until `end_restore`. Raise BrokerUnfit."""
        await nats_slot_map.begin_restore(self.api, self._asked, seal, self._replicas)

    async def end_restore(self, slots: SlotMap) -> None:
        """Let services in, with this slot map."""
        await nats_slot_map.end_restore(self.api, self._asked, slots)

    async def restore_queue(self, stream: str) -> None:
        """See the port. A stream in memory is gone when its server was started again."""
        await provide_stream(self.api, self._queue_configs[stream])

    async def put(
        self,
        subject: str,
        data: bytes,
        *,
        expected_revision: int | None = None,
        lasts_s: int | None = None,
    ) -> int:
        """See the port."""
        headers = dict[str, str]()
        if expected_revision is not None:
            headers[EXPECTED_LAST_OF_SUBJECT] = str(expected_revision)
        if lasts_s is not None:
            headers[_LASTS] = f"{lasts_s}s"
        answer = await self._request(subject, data, timeout_s=_PUT_TIMEOUT_S, headers=headers)
        return stored_revision(subject, answer)

    async def follow(
        self, stream: str, *, after: StoredMessage | None, may_rewind: bool = False
    ) -> Following:
        """See the port."""
        restore = partial(self.restore_queue, stream) if may_rewind else None
        return await self._start_following(stream, after=after, restore=restore)

    async def _follow_subject(self, stream: str, subject: str) -> Following:
        return await self._start_following(stream, after=None, restore=None, subject=subject)

    async def _start_following(
        self,
        stream: str,
        *,
        after: StoredMessage | None,
        restore: Callable[[], Awaitable[None]] | None,
        subject: str = "",
    ) -> Following:
        await self._hear_elections()
        following = NatsFollowing(
            self._client,
            self.api,
            self._message_now,
            stream,
            after=after,
            restore=restore,
            on_close=self._followings.discard,
            subject=subject,
        )
        await following.start()
        self._followings.add(following)
        return following

    async def stream_state(self, stream: str) -> StreamState:
        """See the port."""
        answer = await self.api(f"STREAM.INFO.{stream}")
        if "error" in answer:
            raise BrokerFault(f"{stream}: {answer['error'].get('description')}")
        state = answer["state"]
        return StreamState(first_sequence=state["first_seq"], last_sequence=state["last_seq"])

    async def stored_message(self, stream: str, sequence: int) -> StoredMessage | None:
        """See the port."""
        message = await self._message_now(stream, sequence)
        for pause_s in _ABSENT_ASKED_AGAIN_S:
            if message is not None or not await self._may_yet_be_told(stream, sequence):
                break
            await asyncio.sleep(pause_s)
            message = await self._message_now(stream, sequence)
        return message

    async def _message_now(self, stream: str, sequence: int) -> StoredMessage | None:
        if sequence < 1:
            return None
        answer = await self.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
        return stored_message(answer, f"{stream} {sequence}")

    async def _may_yet_be_told(self, stream: str, sequence: int) -> bool:
        """Tell if it is beyond the end of a journal whose copies may know more."""
        if not stream.startswith(JOURNAL_STREAM_PREFIX):
            return False
        answer = await self.api(f"STREAM.INFO.{stream}")
        has_copies = bool(answer.get("cluster", {}).get("replicas"))
        return has_copies and answer["state"]["last_seq"] < sequence

    async def put_snapshot(self, party: int, sequence: int, blocks: AsyncIterator[bytes]) -> None:
        """See the port."""
        await self._snapshots.put(party, sequence, blocks)

    async def snapshots(self, party: int) -> list[int]:
        """See the port."""
        return await self._snapshots.sequences(party)

    def snapshot(self, party: int, sequence: int) -> AsyncGenerator[bytes, None]:
        """See the port."""
        return self._snapshots.get(party, sequence)

    async def prune_snapshots(self, party: int, *, below: int, kept: Collection[int]) -> None:
        """See the port."""
        await self._snapshots.prune(party, below=below, kept=kept)

    async def close(self) -> None:
        """See the port."""
        for following in list(self._followings):
            await following.close()
        if self._client.is_connected:
            await self._flush()
        await self._client.close()

    async def _flush(self) -> None:
        """Return when all is sent or can't be, as after a loss: nats-py would wait 10 s then."""
        waits = [asyncio.create_task(wait) for wait in (self._client.flush(), self._lost.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def connected(self) -> None:
        """See the port."""
        while not self._client.is_connected:
            self._reconnected.clear()
            await self._reconnected.wait()

    async def _hear_elections(self) -> None:
        """Listen for new leaders of streams, if this connection does not yet."""
        if not self._hears_elections:
            self._hears_elections = True
            try:
                await self._client.subscribe(f"{LEADER_ELECTED}.*", cb=self._on_leader_elected)
            except nats.errors.Error as error:
                self._hears_elections = False
                raise Disconnected(f"new leaders are not heard of: {error!r}") from error

    async def _on_leader_elected(self, message: Msg) -> None:
        stream = message.subject.rpartition(".")[2]
        ago_s = elected_ago_s(message.data, time.time_ns())
        self._appends.note_new_leader(journal_subject_of(stream), ago_s)
        for following in self._followings:
            if following.stream == stream:
                following.reset()
        if stream.startswith(QUEUE_STREAM_PREFIX):
            self._tell_loss(stream)

    def on_loss(self, handler: Callable[[str | None], None]) -> None:
        """See the port."""
        self._loss_handlers.append(handler)

    def _tell_loss(self, stream: str | None) -> None:
        for handler in self._loss_handlers:
            asyncio.get_running_loop().call_later(_TAKING_S, handler, stream)

    async def _on_error(self, error: Exception) -> None:
        _log.warning("broker: %r", error)

    async def _on_disconnected(self) -> None:
        _log.warning("broker: disconnected")
        self._lost.set()
        self._appends.fail_all("the connection was lost")

    async def _on_reconnected(self) -> None:
        _log.warning("broker: connected again")
        self._lost.clear()
        self._reconnected.set()
        for following in self._followings:
            following.reset()
        self._tell_loss(None)

    async def _on_closed(self) -> None:
        self._closed.set()
