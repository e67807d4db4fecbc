"""A real Chromium on a real wallet, and what its page did that it must not do."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

WAIT_MS: Final = 15_000
"""Only ends a test that hangs."""

_ARGUMENTS: Final = (
    "--headless",
    "--no-sandbox",  # Chromium refuses to start as root with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium on an empty profile of its own."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("There is no `chromium` on PATH: run tests/browser/provide-chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """The console in a context of its own. `errors` and `hosts` are what the page did.

    A test that causes a kind of complaint says so in `expected`, a part of its text.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(base_url=url, reduced_motion="reduce", **options)
        self.context.set_default_timeout(WAIT_MS)
        self.errors: list[str] = []
        self.expected = ""
        self.hosts: set[str] = set()
        self.context.on("request", lambda request: self._asked(request.url))
        self.page = self.context.new_page()
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("websocket", lambda socket: self._asked(socket.url))

    def go(self, *account_ids: str) -> Page:
        """Open the console, watching these accounts, and see that it is connected."""
        fragment = f"#watch={','.join(account_ids)}" if account_ids else ""
        self.page.goto(f"/console{fragment}")
        self.page.locator("#connection", has_text="connected").wait_for()
        return self.page

    def check(self) -> None:
        """Nothing was complained of, and nobody else was asked for anything."""
        strange = [each for each in self.errors if not (self.expected and self.expected in each)]
        assert strange == []
        assert self.hosts == {urlsplit(self.url).netloc}

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _asked(self, url: str) -> None:
        self.hosts.add(urlsplit(url).netloc)
