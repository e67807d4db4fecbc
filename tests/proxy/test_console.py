"""The console's files as they are served."""

from __future__ import annotations

import re

import pytest

from contracts.limits import WAIT_MS_DEFAULT
from proxy.adapters.console_files import CONSOLE_POLICY, read_console_files
from proxy.adapters.live_status_stream import EVERY_S
from tests.proxy.conftest import Wallet

pytestmark = pytest.mark.server

FILES = read_console_files()
OWN = {path: file for path, file in FILES.items() if "/vendor/" not in path}


async def test_every_file_is_served_under_a_strict_policy(wallet: Wallet) -> None:
    for path, file in FILES.items():
        async with wallet.client.get(path) as answer:
            assert answer.status == 200
            assert answer.headers["Content-Type"] == file.content_type
            assert answer.headers["Content-Security-Policy"] == CONSOLE_POLICY
            assert await answer.read() == file.body


def test_the_policy_allows_this_host_alone() -> None:
    sources = {source for part in CONSOLE_POLICY.split(";") for source in part.split()[1:]}
    assert sources == {"'none'", "'self'"}


def test_no_file_of_ours_names_another_host_or_runs_inline_code() -> None:
    for path, file in OWN.items():
        text = file.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?://|//[a-z]+\.|@import|url\(", text) == [], path
        assert re.findall(r"<script(?! type=\"module\" src=)|\sstyle=|\son[a-z]+=\"", text) == [], (
            path
        )


def test_the_page_waits_longer_for_an_answer_than_a_proxy_holds_a_request() -> None:
    (deadline_ms,) = re.findall(rb"DEADLINE_MS = (\d+);", FILES["/console/api.js"].body)
    assert int(deadline_ms) > WAIT_MS_DEFAULT


def test_the_page_pings_more_often_than_silence_may_last() -> None:
    (ping_ms,) = re.findall(rb"PING_EVERY_MS = (\d+);", FILES["/console/account_feed.js"].body)
    (silence_ms,) = re.findall(rb"SILENCE_MS = (\d+);", FILES["/console/line.js"].body)
    assert max(2 * int(ping_ms), 2 * 1_000 * EVERY_S) < int(silence_ms)


def test_no_amount_goes_through_a_float() -> None:
    """Amounts arrive as text, and no file of ours reads text as a float."""
    for path, file in OWN.items():
        assert "parseFloat" not in file.body.decode(), path


@pytest.mark.parametrize("path", ["/console/none.js", "/console/..%2fconfig.py", "/console/"])
async def test_nothing_else_is_served(wallet: Wallet, path: str) -> None:
    async with wallet.client.get(path) as answer:
        assert answer.status == 404


async def test_the_vendored_library_says_where_it_is_from() -> None:
    assert FILES["/console/vendor/uplot/ORIGIN"].body.startswith(b"uPlot 1.6.32")
    assert b"Leon Sorokin" in FILES["/console/vendor/uplot/LICENSE"].body
