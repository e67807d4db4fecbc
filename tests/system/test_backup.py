"""A backup of a wallet under load, restored after everything was killed."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from broker.store_blocks import Record
from broker.store_files import read_stream, stream_folders
from contracts.chain import Chained, follow, genesis
from contracts.parties import parties, party_name
from contracts.subjects import journal_stream, journal_subject
from ewallet.backup.file import Backup, End, Reached
from tests.system.bank import ACCOUNTS, CLIENTS, Bank, minor, open_accounts, read_model
from tests.system.embedded_stack import Stack
from tests.system.test_kill_between_partitions import (
    PARTITIONS,
    WAYS,
    check_outcomes,
    check_sides,
    survivors,
)

pytestmark = [pytest.mark.server, pytest.mark.faults]

COMMAND_S_MAX = 200.0
"""Only to end a test that hangs: the longer a slow machine takes for the backups, the more there is
to restore."""
LOADED = 300
"""Outcomes known before the backup begins, and after it, before everything is killed."""


async def test_a_backup_under_load_brings_back_all_that_was_told_before_it(
    stack: Stack, tmp_path: Path
) -> None:
    stack.configure(EWALLET_PARTITIONS=str(PARTITIONS), EWALLET_WRITERS="2").start()
    bank = Bank(stack.url, tuple(WAYS))
    async with _session() as session:
        await open_accounts(session, stack.url)
        clients = [asyncio.create_task(bank.run_client(session, n)) for n in range(CLIENTS)]
        await bank.reach(LOADED)
        shown = await _statements(session, stack.url)
        told = dict(bank.told)
        file = await asyncio.to_thread(_backup_of_a_busy_moment, stack, tmp_path)
        await bank.reach(len(bank.told) + LOADED)
        stack.kill_everything()
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    new = Stack(tmp_path / "restored", EWALLET_WRITERS="2")
    try:
        said = await asyncio.to_thread(_ewallet, "restore", str(file), "--data-dir", str(new.data))
        assert said.returncode == 0, said.stderr
        assert _tips(new.data) == _end(file).journals
        new.start()
        async with _session() as session:
            await _check_restored(session, new.url, told, shown)
        new.stop()
        _check_journals(new, told)
    finally:
        new.end()


def _backup_of_a_busy_moment(stack: Stack, folder: Path) -> Path:
    """One with transfers under way, which almost any moment has."""
    for number in range(10):
        file = folder / f"{number}.backup"
        said = _ewallet("backup", str(file), "--data-dir", str(stack.data))
        assert said.returncode == 0, said.stderr
        if _end(file).unfinished:
            return file
    pytest.fail("nothing was ever under way")


async def _check_restored(
    session: aiohttp.ClientSession,
    url: str,
    told: dict[tuple[str, str], dict[str, Any]],
    shown: dict[str, list[dict[str, Any]]],
) -> None:
    """Nothing that a client knew has changed, and what was under way comes to its end."""
    await _settled(session, url)
    statements = await _statements(session, url)
    for account_id in ACCOUNTS:
        old = shown[account_id]
        assert statements[account_id][-len(old) :] == old or not old, "newest come first"
    for (payer, transaction_id), answer in told.items():
        path = f"{url}/wallet/accounts/{payer}"
        async with session.get(f"{path}/transfers/{transaction_id}") as response:
            recorded = await response.json()
        assert (recorded["status"] == "completed") == (answer["http"] == 201)
        if answer["http"] != 201:
            assert recorded["code"] == answer["code"]
            continue
        assert recorded["balance"] == answer["balance"]
        past = f"{path}?sequence={answer['sequence']}"
        async with session.get(past) as response:
            assert (await response.json())["balance"] == answer["balance"]
    await _check_repeats(session, url, told)
    bank = Bank(url, told=told)
    balances = await read_model(session, url, bank)
    assert sum(minor(balances[account_id]["balance"]) for account_id in ACCOUNTS) == 0
    assert not any(minor(balances[account_id]["held"]) for account_id in ACCOUNTS)


async def _check_repeats(
    session: aiohttp.ClientSession, url: str, told: dict[tuple[str, str], dict[str, Any]]
) -> None:
    """The same request again gets the first answer."""
    for answer in list(told.values())[:100]:
        if answer["http"] != 201:
            continue
        body = {
            name: answer[name]
            for name in (
                "from_account_id",
                "to_account_id",
                "amount",
                "currency",
                "transaction_id",
            )
        }
        async with session.post(f"{url}/wallet/transfer", json=body) as response:
            assert response.status == 201
            assert response.headers["Idempotent-Replayed"] == "true"
            assert (await response.json()) | {"http": 201} == answer


def _check_journals(stack: Stack, told: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Both sides of every transfer agree, and each that was told has the outcome told."""
    journals = [stack.events(partition) for partition in range(PARTITIONS)]
    outcomes = check_outcomes(journals)
    assert outcomes.items() >= {name: each["http"] == 201 for name, each in told.items()}.items()
    assert sum(check_sides(journals, outcomes).values()) == 0
    assert sum(map(survivors, journals)) > 0, "some were under way in the backup"


def test_a_restore_that_was_killed_is_started_again(stack: Stack, tmp_path: Path) -> None:
    file, target = _backup_of_a_little(stack, tmp_path), tmp_path / "restored"
    command = [sys.executable, "-m", "ewallet", "restore", str(file), "--data-dir", str(target)]
    restoring = subprocess.Popen(command, env=_environment())
    deadline = time.monotonic() + COMMAND_S_MAX
    while not (target / "restoring").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    restoring.kill()
    restoring.wait()
    new = Stack(target)
    try:
        assert "run `ewallet restore` on it again" in new.refuses_to_start()
        said = _ewallet("restore", str(file), "--data-dir", str(target))
        assert said.returncode == 0, said.stderr
        assert _tips(target) == _end(file).journals
        new.start()
        new.stop()
    finally:
        new.end()


def test_damaged_files_and_used_folders_are_refused_and_nothing_is_written(
    stack: Stack, tmp_path: Path
) -> None:
    file = _backup_of_a_little(stack, tmp_path)
    whole, target = file.read_bytes(), tmp_path / "restored"
    damaged = tmp_path / "damaged"
    for data, why in (
        (whole[: len(whole) // 2], "damaged or cut off"),
        (whole[:1000] + bytes((whole[1000] ^ 1,)) + whole[1001:], "damaged or cut off"),
        (whole.replace(b"backup 1", b"backup 7", 1), "format version 7"),
        (b"", "no backup of a wallet"),
    ):
        damaged.write_bytes(data)
        said = _ewallet("restore", str(damaged), "--data-dir", str(target))
        assert (said.returncode, why in said.stderr) == (os.EX_CONFIG, True), said.stderr
        assert not target.exists()
    said = _ewallet("restore", str(file), "--data-dir", str(stack.data))
    assert (said.returncode, "is not empty" in said.stderr) == (os.EX_CONFIG, True), said.stderr
    said = _ewallet("restore", str(file), "--check")
    assert (said.returncode, "is a whole backup" in said.stdout) == (0, True)
    said = _ewallet("backup", str(file), "--data-dir", str(stack.data))
    assert (said.returncode, "exists already" in said.stderr) == (os.EX_CONFIG, True)
    assert file.read_bytes() == whole
    assert {path.name for path in tmp_path.glob("*backup*")} == {file.name}


def _backup_of_a_little(stack: Stack, tmp_path: Path) -> Path:
    """Of a wallet that has accounts and has ended."""
    stack.configure(EWALLET_PARTITIONS="2").start()
    asyncio.run(_open_accounts(stack.url))
    file = tmp_path / "a.backup"
    said = _ewallet("backup", str(file), "--data-dir", str(stack.data))
    assert said.returncode == 0, said.stderr
    stack.stop()
    return file


async def _open_accounts(url: str) -> None:
    async with _session() as session:
        await open_accounts(session, url)


# --- from outside ---


def _session() -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=30)
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=CLIENTS + 2))


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if "EWALLET" not in name}


def _ewallet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ewallet", *arguments],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_S_MAX,
        check=False,
    )


async def _settled(session: aiohttp.ClientSession, url: str) -> None:
    """Return when no transfer is under way any more."""
    async with asyncio.timeout(COMMAND_S_MAX):
        while True:
            async with session.get(f"{url}/wallet/transfers/unfinished") as response:
                if not (await response.json())["count"]:
                    return
            await asyncio.sleep(0.05)


async def _statements(session: aiohttp.ClientSession, url: str) -> dict[str, list[dict[str, Any]]]:
    """All entries of all accounts, newest first."""
    statements: dict[str, list[dict[str, Any]]] = {}
    for account_id in ACCOUNTS:
        entries, token = statements.setdefault(account_id, []), ""
        while True:
            path = f"{url}/wallet/accounts/{account_id}/entries?limit=500{token}"
            async with session.get(path) as response:
                assert response.status == 200, await response.text()
                page = await response.json()
            entries += page["entries"]
            if not page.get("next_page_token"):
                break
            token = f"&page_token={page['next_page_token']}"
    return statements


def _end(file: Path) -> End:
    end = list(Backup(file).frames())[-1]
    assert isinstance(end, End)
    return end


def _tips(data: Path) -> dict[str, Reached]:
    """Where the journals of a stopped wallet end."""
    reached = {}
    partitions = json.loads((data / "ewallet.json").read_text())["partitions"]
    for party in parties(partitions):
        stream, tip, frames = journal_stream(party), genesis(party), 0
        (folder,) = stream_folders(data / "nats", stream)
        for record in read_stream(folder, stream, journal_subject(party)):
            assert isinstance(record, Record)
            link = follow(tip, record.payload)
            assert isinstance(link, Chained)
            tip, frames = link.tip, frames + 1
        reached[party_name(party)] = Reached.of(tip, frames)
    return reached
