"""A journal of which several servers keep copies, as a following sees them.

Here each copy is a mirror on one server, as those have the same sequences and times; and which one
a consumer reads is the test's to say, where a cluster leaves it to chance.
"""

import asyncio
from typing import Any, Final

from broker.nats_broker import NatsBroker
from broker.nats_following import NatsFollowing
from broker.nats_streams import API_TIMEOUT_S
from tests.broker.followed_journal import JOURNAL, append
from tests.broker.implementations import DEADLINE_S

WHOLE: Final = "WHOLE"
"""The copy that has everything."""


class Copies:
    """The servers of one stream, as a following sees them."""

    def __init__(self, broker: NatsBroker) -> None:
        self.next: list[str] = []
        """Whose copies the next consumers read; the last one's once there are no more."""
        self.read: list[str] = []
        """Whose copies were read, one after the other."""
        self.asked = 0
        """How often the stream's leader was asked whether there is more."""
        self.leads = JOURNAL
        """Whose copy is the leader's."""
        self.leader_answers = asyncio.Event()
        self.leader_answers.set()
        self.answers_after = 0
        """How many messages a new consumer delivers before it is told that it is made."""
        self.broker = broker
        self._following: NatsFollowing | None = None
        self._readers: dict[str, str] = {}

    async def append(self, last: int) -> None:
        await append(self.broker, b"frame", last)

    async def make(self, name: str, *lost: int) -> None:
        """A copy without some of the messages that there are."""
        await self._done("STREAM.CREATE", name, {"name": name, "mirror": {"name": JOURNAL}})
        await self.until_copied(name)
        for sequence in lost:
            await self._done("STREAM.MSG.DELETE", name, {"seq": sequence})

    async def make_other(self, name: str, count: int) -> None:
        """A copy with as many messages, all of them others."""
        await self._done("STREAM.CREATE", name, {"name": name, "subjects": [name]})
        for last in range(count):
            await (await self.broker.append(name, b"other", expected_last_sequence=last))

    async def until_copied(self, name: str) -> None:
        last = (await self.broker.stream_state(JOURNAL)).last_sequence
        async with asyncio.timeout(DEADLINE_S):
            while (await self.broker.stream_state(name)).last_sequence < last:  # noqa: ASYNC110  # the server's
                await asyncio.sleep(0.01)

    async def purge(self, name: str) -> None:
        """Take all messages away, as when they are too old. Their sequences are not used again."""
        await self._done("STREAM.PURGE", name, {})

    async def until_asked(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.asked < count:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)

    async def until_made(self, count: int) -> None:
        """So many consumers."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.read) < count:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0.01)

    async def _done(self, verb: str, name: str, body: dict[str, Any]) -> None:
        answer = await self.broker.api(f"{verb}.{name}", body)
        assert "error" not in answer, answer

    async def api(
        self, verb: str, body: dict[str, Any] | None = None, *, timeout_s: float = API_TIMEOUT_S
    ) -> dict[str, Any]:
        """As a cluster answers, which places each consumer on one of the servers."""
        if verb == f"STREAM.MSG.GET.{JOURNAL}":
            self.asked += 1
            await self.leader_answers.wait()
            return await self.broker.api(f"STREAM.MSG.GET.{self.leads}", body, timeout_s=timeout_s)
        what, stream, consumer = verb.rsplit(".", 2)
        assert stream == JOURNAL
        if body is not None:
            self._readers[consumer] = self.next.pop(0) if len(self.next) > 1 else self.next[0]
            self.read.append(self._readers[consumer])
            body = body | {"stream_name": self._readers[consumer]}
        verb = f"{what}.{self._readers[consumer]}.{consumer}"
        answer = await self.broker.api(verb, body, timeout_s=timeout_s)
        if body is not None:
            await self._until_delivered(self.answers_after)
        return answer | {"cluster": {"leader": self._readers[consumer]}}

    async def follow(self, *names: str) -> NatsFollowing:
        """Follow the stream from its beginning, on these copies one after the other."""
        self.next = list(names)
        self._following = following = NatsFollowing(
            self.broker._client,  # noqa: SLF001  # there is no other way to it
            self.api,
            self.broker._message_now,  # noqa: SLF001  # likewise
            JOURNAL,
            after=None,
            restore=None,
            on_close=lambda _: None,
        )
        await following.start()
        return following

    async def _until_delivered(self, count: int) -> None:
        assert self._following is not None
        async with asyncio.timeout(DEADLINE_S):
            while self._following.backlog < count:  # noqa: ASYNC110  # nothing tells of a backlog
                await asyncio.sleep(0.001)
        await self.broker.stream_state(JOURNAL)  # so long, what was sent with these comes too


async def read(following: NatsFollowing, last: int) -> list[int]:
    """The sequences that come, until the last one or a fault."""
    found: list[int] = []
    async with asyncio.timeout(DEADLINE_S):
        async for messages in following:
            found += [message.sequence for message in messages]
            if found[-1] == last:
                break
    return found
