"""The gateway over transfers whose payer and payee live in different partitions."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from contracts.commands import Transfer
from contracts.coordination import CREDIT_STEPS, Coordination
from contracts.limits import RESEND_AFTER_MS
from contracts.queries import (
    CreditStepsAnswer,
    CreditStepsQuery,
    TransferAnswer,
    TransferQuery,
    UnfinishedQuery,
)
from contracts.rejections import Rejection
from proxy.ports import NoAnswer
from tests.proxy.world import (
    DEADLINE_S,
    WAIT_MS,
    World,
    opening,
    submit,
    transfer,
    turns,
)

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def apart(tmp_path: Path) -> AsyncIterator[World]:
    """Two partitions: account "b" lives in one, "a" in the other."""
    async with asyncio.timeout(DEADLINE_S):
        world = World(tmp_path, partition_count=2)
        assert world.slots.partition_of("a") != world.slots.partition_of("b")
        yield world


@pytest.mark.parametrize("coordination", [each for each in Coordination if each])
async def test_a_transfer_between_partitions_is_answered_once_with_its_outcome(
    apart: World, coordination: Coordination
) -> None:
    async with apart.gateway() as gateway, apart.reader(), apart.writer():
        await submit(gateway, opening("a"), opening("b"))
        command = structs.replace(transfer("t1", 7), coordination=coordination)
        first, again = await submit(gateway, command, command)
        too_much = structs.replace(transfer("t2", 1_001), coordination=coordination)
        refused = (await submit(gateway, too_much))[0]
        found = await gateway.ask(TransferQuery("a", "t1"))
        credit = await gateway.ask(CreditStepsQuery("b", "a", "t1"))
        unfinished = await gateway.unfinished(UnfinishedQuery(limit=9))
    assert first is not None
    assert (first.rejection, first.balance_minor, first.coordination) == (None, -7, coordination)
    assert again is not None
    assert again == structs.replace(first, request_number=again.request_number, repeated=True)
    assert refused is not None
    assert refused.rejection is Rejection.INSUFFICIENT_FUNDS
    assert isinstance(found, TransferAnswer)
    assert (found.is_finished, found.coordination) == (True, coordination)
    assert isinstance(credit, CreditStepsAnswer)
    assert credit.partition == apart.slots.partition_of("b") != found.partition
    assert {step.step in CREDIT_STEPS for step in found.steps} == {False}
    assert {step.step in CREDIT_STEPS for step in credit.steps} == {True}
    assert sorted(answer.partition for answer in unfinished) == [0, 1]
    assert [answer.count for answer in unfinished] == [0, 0]


async def test_a_transfer_under_way_is_shown_and_waited_for_until_it_is_finished(
    apart: World,
) -> None:
    payee = apart.slots.partition_of("b")
    async with apart.gateway() as gateway, apart.reader():
        async with apart.writer():
            await submit(gateway, opening("a"), opening("b"))
        async with apart.writer(payee):
            assert await gateway.submit(transfer("t1"), wait_ms=100) is None
            pending = await gateway.ask(TransferQuery("a", "t1", wait_ms=20))
            unfinished = await gateway.unfinished(UnfinishedQuery(limit=9))
        asked = asyncio.create_task(gateway.ask(TransferQuery("a", "t1", wait_ms=WAIT_MS)))
        async with apart.writer():
            finished = await asked
    assert isinstance(pending, TransferAnswer)
    assert not pending.is_finished
    names = [each.transaction_id for answer in unfinished for each in answer.transfers]
    assert names == ["t1"]
    assert isinstance(finished, TransferAnswer)
    assert (finished.is_finished, finished.rejection) == (True, None)


async def test_transfers_that_wait_for_another_partition_keep_no_others_back(apart: World) -> None:
    payee = apart.slots.partition_of("b")
    local = next(f"l{n}" for n in range(99) if apart.slots.partition_of(f"l{n}") != payee)
    async with apart.gateway() as gateway, apart.reader():
        async with apart.writer():
            await submit(gateway, opening("a"), opening("b"), opening(local))
        async with apart.writer(payee):
            slow = []
            for number in range(20):
                slow.append(gateway.submit(transfer(f"t{number}"), wait_ms=WAIT_MS))
                await turns()
            quick = Transfer("a", local, 1, "USD", "quick")
            assert await gateway.submit(quick, wait_ms=RESEND_AFTER_MS // 2) is not None
            assert not any(waiting.done() for waiting in slow)
        async with apart.writer():
            results = await asyncio.gather(*slow)
    assert [result is not None and result.rejection for result in results] == [None] * 20


async def test_unfinished_transfers_are_asked_of_every_partition_or_of_none(
    apart: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxy.service.questions._READER_ABSENCE_MS", 200)
    async with apart.gateway() as gateway:
        with pytest.raises(NoAnswer):
            await gateway.unfinished(UnfinishedQuery(limit=9))
