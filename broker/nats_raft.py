"""One NATS server as the sentinel sees it: by its monitoring address, and a way into its groups."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec
import nats.errors
from msgspec import Struct

from broker.nats_subscription import all_sent
from broker.nats_wire import Client
from broker.port import BrokerFault
from broker.raft import Member, Undecodable, VoteRequest, decode_groups, encode_vote_request

_log = logging.getLogger(__name__)

_ANSWER_S_MAX: Final = 0.5
"""A server that does not tell who it is in this time is silent."""
_SEND_S_MAX: Final = 1.0
_ACCOUNTS: Final = ("$SYS", "$G")
"""Whose groups are asked for: the server's own, that of the streams' placement, and the wallet's
streams, in the NATS account of users that have no other."""
_FAULTS: Final = (aiohttp.ClientError, OSError, TimeoutError)


class _Identity(Struct):
    server_id: str


class _Route(Struct):
    remote_id: str


class _Routes(Struct):
    routes: list[_Route]


_IDENTITY: Final = msgspec.json.Decoder(_Identity)
_ROUTES: Final = msgspec.json.Decoder(_Routes)


def new_session() -> aiohttp.ClientSession:
    """Each question over a connection of its own, to where its name leads now.

    Servers that were started again may have swapped addresses, as containers do: a connection that
    was kept, or a remembered address, would show another server under the name.
    """
    connector = aiohttp.TCPConnector(force_close=True, use_dns_cache=False)
    return aiohttp.ClientSession(connector=connector)


class RaftServer:
    """Asked and used for each other: nothing is kept here."""

    def __init__(self, session: aiohttp.ClientSession, monitor_url: str, nats_url: str) -> None:
        """The two addresses are of the same server; the second one is secret."""
        self._session = session
        self._monitor_url = monitor_url.rstrip("/")
        self._nats_url = nats_url
        self.name = monitor_url

    async def identity(self) -> str:
        """What tells this run of the server from those before; "" if it is silent."""
        try:
            return _IDENTITY.decode(await self._get("/accountz")).server_id
        except (*_FAULTS, msgspec.DecodeError):
            return ""

    async def connected_to(self) -> set[str] | None:
        """The identities of the servers that it has connections to; None if it is silent."""
        try:
            return {route.remote_id for route in _ROUTES.decode(await self._get("/routez")).routes}
        except (*_FAULTS, msgspec.DecodeError):
            return None

    async def groups(self) -> dict[str, Member]:
        """Its groups by name; none if it is silent or says what is not understood."""
        groups: dict[str, Member] = {}
        for account in _ACCOUNTS:
            try:
                groups |= decode_groups(await self._get(f"/raftz?acc={account}"))
            except _FAULTS:
                return {}
            except Undecodable as error:
                _log.error("%s says of its Raft groups what is not known: %s", self.name, error)
                return {}
        return groups

    async def request_votes(self, requests: Sequence[VoteRequest]) -> None:
        """Send the requests through this server, to all members at once. Raise BrokerFault.

        The answers go to nobody: what became of them, the servers tell when they are asked.
        """
        client = await self._connect()
        try:
            async with asyncio.timeout(_SEND_S_MAX):
                for each in requests:
                    subject = f"$NRG.V.{each.group}"
                    data = encode_vote_request(each)
                    await client.publish(subject, data, reply=client.new_inbox())
                await all_sent(client)
        except (nats.errors.Error, *_FAULTS) as error:
            raise BrokerFault(f"{self.name} takes no request for votes: {error!r}") from error
        finally:
            await client.close()

    async def check(self) -> None:
        """Raise BrokerFault if the server is not there or does not let us in."""
        await (await self._connect()).close()

    async def _connect(self) -> Client:
        """A connection for this once: one that was kept might lead to a server that is gone."""
        client = Client()
        try:
            async with asyncio.timeout(_SEND_S_MAX):
                await client.connect(
                    self._nats_url,
                    name="sentinel",
                    inbox_prefix="_INBOX_sentinel",
                    allow_reconnect=False,
                    error_cb=_on_error,
                )
        except (nats.errors.Error, *_FAULTS) as error:
            await client.close()
            raise BrokerFault(f"{self.name} does not let the sentinel in: {error!r}") from error
        return client

    async def _get(self, path: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S_MAX)
        async with self._session.get(self._monitor_url + path, timeout=timeout) as response:
            response.raise_for_status()
            return await response.read()


async def _on_error(error: Exception) -> None:
    _log.warning("broker: %r", error)
