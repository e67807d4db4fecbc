"""Queries that wait for what is still to come, and for how long."""

import asyncio
from pathlib import Path

import pytest

from contracts.coordination import Coordination, Step
from contracts.queries import (
    AccountQuery,
    EntriesQuery,
    Missing,
    NotFound,
    TransferAnswer,
    TransferQuery,
)
from tests.reader.histories import (
    issuer_and_anna,
    transfer,
)
from tests.reader.journal_writer import GoOn
from tests.reader.running import Journals, Running


async def test_a_query_waits_for_the_sequence_that_it_demands(tmp_path: Path) -> None:
    journals, writer = Journals(), issuer_and_anna()
    await journals.append(writer.frames)
    frame = writer.write([("p1", 1, [transfer("issuer", "anna", 7, "t1")])])
    tip = writer.tip.sequence
    async with Running(journals, tmp_path) as reader:
        waiting = [
            asyncio.create_task(reader.ask(query))
            for query in (
                AccountQuery("anna", min_sequence=tip),
                AccountQuery("anna", at_sequence=tip),
                EntriesQuery("anna", 10, min_sequence=tip),
                TransferQuery("issuer", "t1", min_sequence=tip),
            )
        ]
        assert await reader.ask(AccountQuery("anna")) == writer.books.account("anna", 3, tip=tip)
        assert not any(task.done() for task in waiting)
        await journals.append([frame])
        now, then, entries, outcome = [await task for task in waiting]
        assert now == then == writer.books.account("anna", tip, tip=tip)
        assert entries == writer.books.entries("anna", 10, None, tip=tip)
        assert outcome == writer.books.transfer("issuer", "t1", tip=tip)


async def test_a_sequence_that_does_not_come_is_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reader.service.answering.QUERY_WAIT_S", 0.01)
    journals, writer = Journals(), issuer_and_anna()
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        answer = await reader.ask(AccountQuery("anna", min_sequence=2**62))
        assert answer == NotFound(0, writer.tip.sequence, Missing.SEQUENCE)


async def test_a_transfer_that_is_waited_for_is_told_when_it_comes(tmp_path: Path) -> None:
    """A refusal that does not use up the name is not yet its outcome."""
    journals, writer = Journals(), issuer_and_anna()
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        waiting = asyncio.create_task(reader.ask(TransferQuery("issuer", "t1", wait_ms=9_000)))
        refused = [transfer("issuer", "astray", 7, "t1")]
        await journals.append([writer.write([("p1", 1, refused)])])
        await reader.reach(writer.tip.sequence)
        assert not waiting.done()
        await journals.append([writer.write([("p1", 1, [transfer("issuer", "anna", 7, "t1")])])])
        answer = await waiting
        assert isinstance(answer, TransferAnswer)
        assert (answer.sequence, answer.balance_minor) == (writer.tip.sequence, -7)


@pytest.mark.parametrize("is_started", [False, True])
async def test_a_transfer_between_partitions_is_waited_for_until_it_is_finished(
    tmp_path: Path, *, is_started: bool
) -> None:
    """Its steps that come meanwhile answer nobody."""
    journals, writer = Journals(), issuer_and_anna()
    first = writer.write([("p1", 1, [transfer("issuer", "far-1", 7, "t1", Coordination.TCC)])])
    await journals.append(writer.frames if is_started else writer.frames[:-1])
    async with Running(journals, tmp_path) as reader:
        waiting = asyncio.create_task(reader.ask(TransferQuery("issuer", "t1", wait_ms=9_000)))
        await journals.append([writer.write([("w", 1, [GoOn(0, 0)])])][:is_started])
        await reader.reach(writer.tip.sequence if is_started else 3)
        assert not waiting.done()
        rest = [] if is_started else [first, writer.frames[-1]]
        await journals.append([*rest, writer.write([("w", 1, [GoOn(0, 0)])])])
        await reader.reach(writer.tip.sequence)
        assert not waiting.done()
        await journals.append([writer.write([("w", 1, [GoOn(0, 0)])])])
        answer = await waiting
        assert answer == writer.books.transfer("issuer", "t1", tip=writer.tip.sequence)
        assert isinstance(answer, TransferAnswer)
        assert [step.step for step in answer.steps] == [
            None,
            Step.TRY_DEBIT,
            Step.CONFIRM_DEBIT,
            Step.COMPLETE,
        ]


async def test_a_transfer_that_is_not_finished_in_time_is_answered_as_unfinished(
    tmp_path: Path,
) -> None:
    """By choreography the payer's balance is without the amount, which is in flight."""
    journals, writer = Journals(), issuer_and_anna()
    writer.write([("p1", 1, [transfer("issuer", "far-1", 7, "t1")])])
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        answer = await reader.ask(TransferQuery("issuer", "t1", wait_ms=10))
        assert isinstance(answer, TransferAnswer)
        assert (answer.is_finished, answer.rejection, answer.balance_minor) == (False, None, -7)
        assert (answer.sequence, len(answer.steps)) == (writer.tip.sequence, 1)


async def test_a_transfer_that_does_not_come_in_time_is_missing(tmp_path: Path) -> None:
    journals, writer = Journals(), issuer_and_anna()
    await journals.append(writer.frames)
    async with Running(journals, tmp_path) as reader:
        answer = await reader.ask(TransferQuery("issuer", "t1", wait_ms=10))
        assert answer == NotFound(0, writer.tip.sequence, Missing.TRANSFER)
