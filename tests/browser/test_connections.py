"""What the console says of its connections is true, and a tab that nobody looks at has none."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Locator, Page, WebSocketRoute, expect

from tests.browser.browsing import WAIT_MS, Visit
from tests.browser.test_transfer import send
from tests.browser.wallet import BrowsedWallet

pytestmark = [pytest.mark.browser, pytest.mark.server]

expect.set_options(timeout=WAIT_MS)

LIVE = "live"
NOT_LIVE = "not live: this is how it was"
LOST = "connection lost; trying again"
TABS_MAX = 6
"""Requests, endless ones among them, that Chromium makes of a host at a time, of all its tabs."""


def part(page: Page, account_id: str, selector: str) -> Locator:
    """A part of an account's card."""
    return page.locator(f'[data-account="{account_id}"] {selector}')


def expect_account(page: Page, account_id: str, balance: str, word: str) -> None:
    expect(part(page, account_id, ".balance")).to_have_text(balance)
    expect(part(page, account_id, ".note")).to_have_text(word)


def look(page: Page, state: str) -> None:
    """Have the page believe that it is `visible` or `hidden`: without a head no tab ever is."""
    page.evaluate(
        """state => {
            const seen = { configurable: true, get: () => state };
            Object.defineProperty(document, "visibilityState", seen);
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        state,
    )


class Silenced:
    """WebSockets of a page that stay open and bring nothing while `is_silent`."""

    def __init__(self, page: Page) -> None:
        self.is_silent = False
        page.route_web_socket("**/wallet/subscribe", self._join)

    def _join(self, client: WebSocketRoute) -> None:
        server = client.connect_to_server()
        server.on_message(lambda message: None if self.is_silent else client.send(message))


def test_a_proxy_that_stands_still_is_a_lost_connection(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    payer, payee = wallet.open("still-payer", "1000"), wallet.open("still-payee")
    visit.expected = "net::ERR_"
    page = visit.go(payee)
    expect_account(page, payee, "0.00 USD", LIVE)
    with wallet.no_proxy():
        expect(page.locator("#connection")).to_have_text(LOST)
        expect_account(page, payee, "0.00 USD", NOT_LIVE)
        expect(page.locator("#overview-says")).to_contain_text("The connection is lost")
    wallet.pay(payer, payee, "3.00", "still-1")
    expect(page.locator("#connection")).to_have_text("connected")
    expect_account(page, payee, "3.00 USD", LIVE)
    expect(page.locator("#overview-says")).not_to_contain_text("lost")


def test_balances_that_went_silent_alone_are_not_shown_as_live(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    """Pictures go on. The changes that nobody heard come later, in the statement too."""
    payer, payee = wallet.open("mute-payer", "1000"), wallet.open("mute-payee")
    sockets = Silenced(visit.page)
    page = visit.go(payee)
    expect_account(page, payee, "0.00 USD", LIVE)
    sockets.is_silent = True
    wallet.pay(payer, payee, "1.00", "mute-1")
    expect(page.locator("#connection")).to_have_text(LOST)
    expect_account(page, payee, "0.00 USD", NOT_LIVE)
    expect(page.locator("#overview-says")).to_have_text(re.compile("^Every partition has"))
    sockets.is_silent = False
    expect_account(page, payee, "1.00 USD", LIVE)
    expect(page.locator("#connection")).to_have_text("connected")
    expect(part(page, payee, "tbody tr")).to_contain_text(["mute-1"])


def test_a_connection_on_which_nothing_changes_is_kept(visit: Visit, wallet: BrowsedWallet) -> None:
    account_id = wallet.open("quiet")
    connections: list[str] = []
    pongs: list[str | bytes] = []
    visit.page.on("websocket", lambda socket: connections.append(socket.url))
    visit.page.on(
        "websocket",
        lambda socket: socket.on(
            "framereceived", lambda text: pongs.append(text) if "pong" in str(text) else None
        ),
    )
    page = visit.go(account_id)
    expect_account(page, account_id, "0.00 USD", LIVE)
    while len(pongs) < 4:  # longer than silence may last
        page.wait_for_timeout(100)
    assert len(connections) == 1
    expect_account(page, account_id, "0.00 USD", LIVE)


def test_a_tab_that_nobody_looks_at_asks_for_nothing_and_is_right_when_it_is_looked_at(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    payer, payee = wallet.open("hidden-payer", "1000"), wallet.open("hidden-payee")
    page = visit.page
    with page.expect_websocket() as opened:
        visit.go(payee)
    expect_account(page, payee, "0.00 USD", LIVE)
    expect(part(page, payee, "caption")).to_be_visible()
    page.wait_for_load_state()
    with asks_for_nothing(page), opened.value.expect_event("close"):
        with page.expect_event("requestfailed", lambda each: each.url.endswith("/status/events")):
            look(page, "hidden")
        wallet.pay(payer, payee, "1.00", "hidden-1")
        wallet.pay(payer, payee, "2.00", "hidden-2")
        expect(page.locator("#connection")).to_have_text("not listening while nobody looks")
        expect_account(page, payee, "0.00 USD", NOT_LIVE)
        expect(page.locator("#overview-says")).to_contain_text("this is how the wallet was")
    look(page, "visible")
    expect_account(page, payee, "3.00 USD", LIVE)
    expect(page.locator("#connection")).to_have_text("connected")
    expect(page.locator("#overview-says")).to_have_text(re.compile("^Every partition has"))
    expect(part(page, payee, "tbody tr")).to_contain_text(["hidden-2", "hidden-1"])


@contextmanager
def asks_for_nothing(page: Page) -> Iterator[None]:
    """No request and no connection begins."""
    begun: list[str] = []
    note = lambda each: begun.append(each.url)  # noqa: E731  # the same one is taken off again
    page.on("request", note)
    page.on("websocket", note)
    yield
    page.remove_listener("request", note)
    page.remove_listener("websocket", note)
    assert begun == []


def test_a_tab_that_watches_no_account_has_no_connection_for_them(visit: Visit) -> None:
    opened: list[str] = []
    visit.page.on("websocket", lambda socket: opened.append(socket.url))
    page = visit.go()
    expect(page.locator("#overview-says")).to_have_text(re.compile("^Every partition has"))
    assert opened == []


def test_tabs_in_the_background_take_no_request_from_the_one_that_is_looked_at(
    browser: Browser, wallet: BrowsedWallet
) -> None:
    payer, payee = wallet.open("tabs-payer", "1000"), wallet.open("tabs-payee")
    visit = Visit(browser, wallet.url)
    for _ in range(TABS_MAX):
        tab = visit.context.new_page()
        tab.goto(f"/console#watch={payee}")
        expect_account(tab, payee, "0.00 USD", LIVE)
        look(tab, "hidden")
    page = visit.go(payee)
    send(page, payer, payee, "1.00")
    expect_account(page, payee, "1.00 USD", LIVE)
    look(page, "hidden")
    look(tab, "visible")
    expect_account(tab, payee, "1.00 USD", LIVE)
    visit.check()
    visit.context.close()
