"""The consumer of one following at the server: made, placed on a server, and dropped.

It is an ephemeral push consumer, which reads the copy of the server that it is on. One that is made
anew has another name and inbox; what the one before still sends does not count.
"""

import logging
from contextlib import suppress
from typing import Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from broker.nats_copies_tried import CopiesTried
from broker.nats_delivered import Delivered
from broker.nats_streams import JetStreamApi
from broker.port import BrokerFault, NoResponse

_log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 0.5
"""How often a consumer is heard that has nothing to deliver."""
_CREATE_S: Final = (0.5, 0.5, 1.0, 2.0, 4.0)
"""How long each request for a consumer is waited for. Each is for another one: it may be placed on
a server that has just died, and is never made then."""
_PLACED_MAX: Final = 5
"""How many consumers are made to get one on another server: each is placed by chance."""

_CONSUMER_EXISTS: Final = 10148
"""Nobody else uses the name: it was made when the server was asked before, and answered late."""


class Consumer:
    """At most one at a time."""

    def __init__(
        self,
        client: Client,
        api: JetStreamApi,
        stream: str,
        tried: CopiesTried,
        delivered: Delivered,
        *,
        subject: str,
    ) -> None:
        """With a subject only its messages are delivered."""
        self._client = client
        self._api = api
        self._stream = stream
        self._tried = tried
        self._delivered = delivered
        self._filter = {"filter_subject": subject} if subject else {}
        self._name = client.new_inbox().rpartition(".")[2]
        self.count = 0
        """How many were asked for until now."""
        self._server = ""
        """Where the consumer is, of a stream that has copies."""
        self._lagging = ""
        """The server that the last consumer was left for, as its copy got nothing."""
        self._subscription: Subscription | None = None

    def leave_server(self) -> None:
        """The copy there lags: the next consumer is to be on another one."""
        self._lagging = self._server

    async def make(self) -> None:
        """On another server than one that lags, most likely. Raise BrokerFault if none can be made.

        A server that was started again may call a copy its own for seconds before it has it.
        """
        for left in reversed(range(_PLACED_MAX)):
            await self._make_anywhere()
            if not self._lagging or self._server != self._lagging or not left:
                break
            await self.drop()
        self._lagging = ""

    async def _make_anywhere(self) -> None:
        for timeout_s in _CREATE_S:
            try:
                await self._create(timeout_s)
            except NoResponse as fault:
                if timeout_s == _CREATE_S[-1] or not isinstance(fault.__cause__, TimeoutError):
                    raise
                await self.unsubscribe()
            else:
                return

    async def _create(self, timeout_s: float) -> None:
        inbox = self._client.new_inbox()
        self.count += 1
        count = self.count
        first_sequence = self._delivered.begin()

        async def received(message: Msg) -> None:
            await self._delivered.until_there_is_room()
            if count == self.count:  # else a late delivery of the consumer before
                await self._delivered.receive(message)

        self._subscription = await self._client.subscribe(inbox, cb=received)
        name = f"{self._name}_{count}"
        config = {
            "name": name,
            "deliver_subject": inbox,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first_sequence,
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
            "mem_storage": True,
            "num_replicas": 1,
            **self._filter,
        }
        body = {"stream_name": self._stream, "config": config, "action": "create"}
        verb = ".".join(["CONSUMER.CREATE", self._stream, name, *self._filter.values()])
        answer = await self._api(verb, body, timeout_s=timeout_s)
        error = answer.get("error")
        if error is not None and error.get("err_code") != _CONSUMER_EXISTS:
            raise BrokerFault(f"{self._stream} can't be followed: {error}")
        self._tried.has_several = error is not None or "cluster" in answer  # an error does not tell
        self._server = answer.get("cluster", {}).get("leader", "")

    async def unsubscribe(self) -> None:
        """Expect nothing of the consumer that may or may not be made; it ends by itself."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def drop(self) -> None:
        """End the present one; the server would forget it by itself a little later.

        Nobody waits for that: while the servers choose who decides about consumers, none answers,
        and a writer that hands over or begins anew would be held up.
        """
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        name = f"{self._name}_{self.count}"
        try:
            await subscription.unsubscribe()
            await self._client.publish(
                f"$JS.API.CONSUMER.DELETE.{self._stream}.{name}", reply=self._client.new_inbox()
            )
        except Exception as error:  # noqa: BLE001  # nats-py raises many kinds; none matters here
            _log.debug("%s: old consumer not dropped: %s", self._stream, error)
