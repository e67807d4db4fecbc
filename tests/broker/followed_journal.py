"""The journal that tests of all implementations write to and follow."""

import asyncio
from typing import Final

from broker.port import (
    Broker,
    Following,
    StoredMessage,
)
from contracts.subjects import (
    journal_stream,
    journal_subject,
)
from tests.broker.implementations import DEADLINE_S

JOURNAL: Final = journal_stream(0)
JOURNAL_SUBJECT: Final = journal_subject(0)


async def append(broker: Broker, data: bytes, expected: int) -> int:
    return await (await broker.append(JOURNAL_SUBJECT, data, expected_last_sequence=expected))


async def read(broker: Broker, number: int) -> list[StoredMessage]:
    return await take(await broker.follow(JOURNAL, after=None), number)


async def take(following: Following, number: int) -> list[StoredMessage]:
    """The next messages of a following, or fewer if it ends."""
    taken: list[StoredMessage] = []
    async with asyncio.timeout(DEADLINE_S):
        async for messages in following:
            assert messages, "never an empty list"
            taken += messages
            if len(taken) >= number:
                break
    return taken
