"""Kill -9 of the writer while it writes a snapshot: the next one recovers, and nothing is lost."""

import asyncio
import base64
import json
import re
import time

import aiohttp
import pytest

from broker.nats_broker import NatsBroker
from contracts.parties import parties
from contracts.subjects import SNAPSHOT_CHUNKS, SNAPSHOT_METAS, SNAPSHOTS_STREAM
from ewallet.nats_configuration import read_urls
from ewallet.permissions import Role
from tests.system.bank import CLIENTS, Bank, open_accounts, read_model
from tests.system.embedded_stack import Stack
from tests.system.test_kill import check

pytestmark = [pytest.mark.server, pytest.mark.faults]

CUT_SHORT = 3
"""Snapshots that are to be cut short by a kill."""
DEADLINE_S = 200.0
"""Only to end a test that hangs: on a slow machine a snapshot is often whole before the kill."""


async def test_a_writer_killed_while_it_writes_a_snapshot_loses_nothing(stack: Stack) -> None:
    stack.configure(EWALLET_SNAPSHOT_EVENTS="20").start()
    bank, bucket = Bank(stack.url), await Bucket.of(stack)
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        await open_accounts(session, stack.url)
        clients = [asyncio.create_task(bank.run_client(session, n)) for n in range(CLIENTS)]
        cut_short = 0
        async with asyncio.timeout(DEADLINE_S):
            while cut_short < CUT_SHORT:
                await bucket.something_unfinished()
                stack.kill("writer")
                cut_short += len(await bucket.unfinished()) > 0
                await bank.reach(len(bank.told) + CLIENTS)
            bank.is_over = True
            await asyncio.gather(*clients)
        shown = await read_model(session, stack.url, bank)
        await bucket.tidied()
    await bucket.close()
    stack.stop()
    check(stack.events(), bank, shown)
    assert not bank.errors, "a failover looks like latency, not like errors"
    log = (stack.data / "logs" / "writer.log").read_text()
    assert len(re.findall(r"Partition 0: snapshot at sequence \d+ restored", log)) >= CUT_SHORT
    assert "is not used" not in log


class Bucket:
    """The running wallet's snapshots, seen with a writer's eyes."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    @classmethod
    async def of(cls, stack: Stack) -> "Bucket":
        text = (stack.data / "nats-server.conf").read_text()
        url, _ = read_urls(text, Role.WRITER)
        return cls(await NatsBroker.connect(url, name="test", role=Role.WRITER.value))

    async def close(self) -> None:
        await self._broker.close()

    async def unfinished(self) -> set[str]:
        """The sets of chunks that no object has."""
        chunks = await self._subjects(f"{SNAPSHOT_CHUNKS}.>")
        named = set()
        for subject in await self._subjects(f"{SNAPSHOT_METAS}.>"):
            body = {"last_by_subj": subject}
            found = await self._broker.api(f"STREAM.MSG.GET.{SNAPSHOTS_STREAM}", body)
            if "error" not in found:
                named.add(_nuid(found["message"]["data"]))
        return {subject.rpartition(".")[2] for subject in chunks} - named

    async def something_unfinished(self) -> None:
        """Return when a snapshot is being written."""
        while True:
            if await self.unfinished():
                return

    async def tidied(self) -> None:
        """Return when nothing is left of what was cut short: as more events come, it goes."""
        deadline = time.monotonic() + DEADLINE_S
        while left := await self.unfinished():
            assert time.monotonic() < deadline, left
        of_parties = [await self._broker.snapshots(party) for party in parties(1)]
        assert all(len(each) <= 2 for each in of_parties)

    async def _subjects(self, pattern: str) -> set[str]:
        body = {"subjects_filter": pattern}
        answer = await self._broker.api(f"STREAM.INFO.{SNAPSHOTS_STREAM}", body)
        return set(answer["state"].get("subjects") or {})


def _nuid(data: str) -> str:
    nuid: str = json.loads(base64.b64decode(data))["nuid"]
    return nuid
