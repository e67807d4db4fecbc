"""A server that lost messages of a journal, and is content, is found out."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from broker import nats_copies
from broker.nats_broker import NatsBroker
from broker.nats_copies import STILL_ROUNDS, Comparison, Copy, Lack, copies_at, watch_copies
from broker.port import BrokerFault, BrokerUnfit, Following
from contracts.subjects import journal_stream
from ewallet.nats_binary import find_nats_server
from tests.broker.implementations import DEADLINE_S
from tests.broker.test_nats_sync import free_address

pytestmark = pytest.mark.server

FRAMES = [b"one", b"two", b"three"]


@contextmanager
def server(store: Path) -> Iterator[tuple[str, str]]:
    """A nats-server on a store; gives its addresses for clients and for monitoring."""
    listen, monitor = free_address(), free_address()
    conf = store.parent / "again.conf"
    conf.write_text(
        f'listen: "{listen}"\nhttp: "{monitor}"\n'
        f'jetstream {{ store_dir: "{store}", sync_interval: always }}\n'
    )
    process = subprocess.Popen([find_nats_server(None), "-c", conf], stderr=subprocess.DEVNULL)
    try:
        yield f"nats://{listen}", f"http://{monitor}"
    finally:
        process.kill()
        process.wait(DEADLINE_S)


async def connected(url: str) -> NatsBroker:
    """Once the server is up."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(BrokerFault):
                return await NatsBroker.connect(url, name="test", role="reader")
            await asyncio.sleep(0.01)


async def read_on(following: Following, read: list[int]) -> None:
    async with asyncio.timeout(2 * DEADLINE_S):
        async for messages in following:
            read += [message.sequence for message in messages]


@pytest.mark.parametrize("lost", [1, 2])
async def test_nothing_behind_lost_messages_is_read_and_the_loss_is_told(
    tmp_path: Path, write_journal: Callable[..., None], lost: int
) -> None:
    store = tmp_path / "store"
    await asyncio.to_thread(
        write_journal, store, 0, FRAMES, settings={"deny_delete": False}, delete=lost
    )
    with server(store) as (url, monitor_url):
        broker = await connected(url)
        told = {monitor_url: await copies_at(monitor_url)}
        assert Comparison().lacks(told) == [Lack(monitor_url, journal_stream(0), 1)]
        following = await broker.follow(journal_stream(0), after=None)
        read: list[int] = []
        with pytest.raises(BrokerUnfit, match=f"messages {lost} to {lost} of EVT_0"):
            await read_on(following, read)
        assert read == list(range(1, lost))
        await following.close()
        await broker.close()


async def test_a_whole_journal_lacks_nothing(
    tmp_path: Path, write_journal: Callable[..., None]
) -> None:
    store = tmp_path / "store"
    await asyncio.to_thread(write_journal, store, 0, FRAMES)
    with server(store) as (url, monitor_url):
        broker = await connected(url)
        told = {monitor_url: await copies_at(monitor_url)}
        assert told == {monitor_url: {journal_stream(0): Copy(3, 3)}}
        assert Comparison().lacks(told) == []
        await broker.close()


async def test_a_server_that_dies_while_it_answers_is_one_that_does_not_answer() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(OSError, match="IncompleteRead"):
            await copies_at(f"http://{host}:{port}")


async def test_a_copy_that_was_cut_at_its_end_is_named(
    tmp_path: Path,
    write_journal: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As after a cut file, while nothing is appended that would show a gap."""
    stores = [tmp_path / name / "store" for name in ("whole", "cut")]
    for store, frames in zip(stores, (FRAMES, FRAMES[:-1]), strict=True):
        store.parent.mkdir()
        await asyncio.to_thread(write_journal, store, 0, frames)
    monkeypatch.setattr(nats_copies, "_ASKED_AGAIN_S", 0.05)
    with server(stores[0]) as (_, whole), server(stores[1]) as (_, cut):
        watching = asyncio.create_task(watch_copies(f"{whole},{cut}"))
        async with asyncio.timeout(DEADLINE_S):
            while not caplog.records:  # noqa: ASYNC110  # a log has no event
                await asyncio.sleep(0.01)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [record.getMessage() for record in caplog.records] == [
        str(Lack(cut, journal_stream(0), 1))
    ]


# --- what rounds of answers say, by server: (messages, last sequence) ---

Round = dict[str, tuple[int, int] | None]
STILL = STILL_ROUNDS


def alike(count: int, told: Round) -> list[Round]:
    """So many that say the same."""
    return count * [told]


WHOLE_OR_NOT: list[tuple[str, list[Round], list[dict[str, int]]]] = [
    (
        "a copy in the middle of growing is not behind",
        [{"a": (5, 5), "b": (7, 7)}, {"a": (9, 9), "b": (11, 11)}, {"a": (11, 11), "b": (11, 11)}],
        [{}, {}, {}],
    ),
    (
        "what others say a moment later is no lack",
        [{"a": (5, 5), "b": (7, 7)}, {"a": (7, 7), "b": (7, 7)}],
        [{}, {}],
    ),
    (
        "a cut copy is named when it stood still for so many rounds, until it is whole",
        [
            {"a": (5, 5), "b": (7, 7)},
            *alike(STILL, {"a": (5, 5), "b": (7, 7)}),
            {"a": (6, 6), "b": (8, 8)},
            {"a": (8, 8), "b": (8, 8)},
        ],
        [{}, *(STILL - 1) * [{}], {"a": 2}, {"a": 1}, {}],
    ),
    (
        "a copy that stands still for a round less, as while the server is busy, is not cut",
        [
            {"a": (7, 7), "b": (7, 7)},
            *alike(STILL - 1, {"a": (7, 7), "b": (9, 9)}),
            {"a": (8, 8), "b": (9, 9)},
            *alike(STILL - 2, {"a": (8, 8), "b": (9, 9)}),
            {"a": (9, 9), "b": (9, 9)},
        ],
        [{}, *(STILL - 1) * [{}], {}, *(STILL - 2) * [{}], {}],
    ),
    (
        "a copy that is copied back is behind, and on its way",
        [{"a": (0, 0), "b": (9, 9)}, {"a": (3, 3), "b": (9, 9)}, {"a": (6, 6), "b": (9, 9)}],
        [{}, {}, {}],
    ),
    (
        "a server that was silent in between is given time anew",
        [
            *alike(STILL, {"a": (5, 5), "b": (7, 7)}),
            {"a": None, "b": (9, 9)},
            *alike(STILL - 1, {"a": (5, 5), "b": (9, 9)}),
            {"a": (9, 9), "b": (9, 9)},
        ],
        [*STILL * [{}], {}, *(STILL - 1) * [{}], {}],
    ),
    (
        "all copies are cut, which was seen otherwise before",
        [{"a": (9, 9), "b": (9, 9)}, *alike(STILL, {"a": (7, 7), "b": (7, 7)})],
        [{}, *(STILL - 1) * [{}], {"a": 2, "b": 2}],
    ),
    (
        "a gap and a cut add up",
        [{"a": (4, 5), "b": (7, 7)}] * (STILL + 1),
        [*STILL * [{"a": 1}], {"a": 3}],
    ),
]


@pytest.mark.parametrize(
    ("rounds", "missing"),
    [case[1:] for case in WHOLE_OR_NOT],
    ids=[case[0] for case in WHOLE_OR_NOT],
)
def test_a_copy_is_whole_if_it_begins_at_1_has_no_gap_and_reaches_as_far_as_any(
    rounds: list[Round], missing: list[dict[str, int]]
) -> None:
    comparison = Comparison()
    for copies, expected in zip(rounds, missing, strict=True):
        told = {url: {"EVT_0": Copy(*copy)} for url, copy in copies.items() if copy is not None}
        found = comparison.lacks(told)
        assert {lack.monitor_url: lack.missing for lack in found} == expected


def test_a_copy_is_not_called_cut_while_nobody_leads() -> None:
    """And is given time anew once somebody does."""
    comparison = Comparison()

    def lacks(*, has_leader: bool) -> list[Lack]:
        copy = Copy(5, 5, has_leader=has_leader)
        return comparison.lacks({"a": {"EVT_0": copy}, "b": {"EVT_0": Copy(7, 7)}})

    for _ in range(2):
        assert not any(lacks(has_leader=False) for _ in range(2 * STILL))
        assert not any(lacks(has_leader=True) for _ in range(STILL - 1))
    assert lacks(has_leader=True) == [Lack("a", "EVT_0", 2)]
