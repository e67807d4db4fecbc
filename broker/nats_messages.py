"""Messages and requests of one connection over nats-py."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from broker.nats_streams import API_TIMEOUT_S, encode_body
from broker.nats_subscription import NatsSubscription
from broker.port import Disconnected, NoResponse, Subscription

_log = logging.getLogger(__name__)

_API_ASKED_AGAIN_S: Final = 0.5
"""A cluster that chooses a leader drops what it is asked; the new one has to be asked again."""


class NatsMessages:
    """What a `NatsBroker` sends and hears that no stream need take."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answers: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Event()
        self._bug: Exception | None = None

    @property
    def is_connected(self) -> bool:
        """See the port."""
        return self._client.is_connected

    async def publish(self, subject: str, data: bytes) -> None:
        """See the port."""
        try:
            await self._client.publish(subject, data)
        except nats.errors.Error as error:
            raise Disconnected(f"not sent to {subject}: {error!r}") from error

    async def subscribe(self, subject: str, handler: Callable[[bytes], None]) -> Subscription:
        """See the port."""

        async def received(message: Msg) -> None:
            try:
                handler(message.data)
            except Exception as bug:  # noqa: BLE001  # nats-py would only tell `_on_error`
                self._bug = bug
                self._closed.set()

        return NatsSubscription(await self._client.subscribe(subject, cb=received))

    async def serve(
        self, subject: str, handler: Callable[[bytes], Awaitable[bytes | None]], *, queue: str = ""
    ) -> Subscription:
        """See the port."""

        async def answer(message: Msg) -> None:
            try:
                data = await handler(message.data)
                if data is not None:
                    await message.respond(data)
            except nats.errors.Error as error:
                _log.warning("%s: answer not sent: %r", subject, error)
            except Exception:  # noqa: BLE001  # logged whole; the asker times out
                _log.exception("%s: no answer", subject)

        async def received(message: Msg) -> None:
            task = asyncio.create_task(answer(message))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

        return NatsSubscription(await self._client.subscribe(subject, queue=queue, cb=received))

    async def request(self, subject: str, data: bytes, *, timeout_s: float) -> bytes:
        """See the port."""
        return await self._request(subject, data, timeout_s=timeout_s)

    async def _request(
        self,
        subject: str,
        data: bytes,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        if not self._client.is_connected:  # asked now, it would leave a future behind for ever
            raise NoResponse(f"{subject}: not connected")
        cancellations = _cancellations()
        try:
            sent = dict(headers) if headers else None  # an empty one takes bytes too
            answer = await self._client.request(subject, data, timeout=timeout_s, headers=sent)
        except (nats.errors.Error, TimeoutError) as error:
            raise NoResponse(f"{subject}: {error!r}") from error
        if _cancellations() > cancellations:
            # In Python 3.11 the wait may swallow a cancellation (CPython issue 86296).
            raise asyncio.CancelledError
        return answer.data

    async def request_all(self, subject: str, data: bytes, *, timeout_s: float) -> list[bytes]:
        """See the port."""
        if not self._client.is_connected:  # a subscription made now would never be taken back
            raise NoResponse(f"{subject}: not connected")
        answers: list[bytes] = []

        async def received(message: Msg) -> None:
            if message.data:
                answers.append(message.data)

        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox, cb=received)
        try:
            await self._client.publish(subject, data, reply=inbox)
            await asyncio.sleep(timeout_s)
        except nats.errors.Error as error:
            raise NoResponse(f"{subject}: {error!r}") from error
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()
        return answers

    async def closed(self) -> None:
        """See the port."""
        await self._closed.wait()
        if self._bug is not None:
            raise self._bug

    async def api(
        self, verb: str, body: dict[str, Any] | None = None, *, timeout_s: float = API_TIMEOUT_S
    ) -> dict[str, Any]:
        """A JetStream API request: the decoded answer, errors included.

        It may be asked several times: what is used here changes nothing more the second time.
        """
        give_up_s = asyncio.get_running_loop().time() + timeout_s
        asked_again_s = min(timeout_s, _API_ASKED_AGAIN_S)
        while True:
            try:
                answer = await self.request(
                    f"$JS.API.{verb}", encode_body(body), timeout_s=asked_again_s
                )
            except NoResponse as fault:
                is_over = asyncio.get_running_loop().time() + asked_again_s > give_up_s
                if is_over or not isinstance(fault.__cause__, TimeoutError):
                    raise
            else:
                decoded: dict[str, Any] = msgspec.json.decode(answer)
                return decoded


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
