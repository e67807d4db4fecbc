"""Accounts in the console: live balances, the statement, the past, the connection."""

import re
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.browsing import WAIT_MS, Visit
from tests.browser.wallet import BrowsedWallet

pytestmark = [pytest.mark.browser, pytest.mark.server]

expect.set_options(timeout=WAIT_MS)


def card(page: Page, account_id: str) -> Locator:
    return page.locator(f'[data-account="{account_id}"]')


def expect_balance(page: Page, account_id: str, text: str) -> None:
    expect(card(page, account_id).locator(".balance")).to_have_text(text)


def test_an_account_is_opened_and_shown(visit: Visit) -> None:
    page = visit.go()
    form = page.locator("#open")
    form.get_by_label("Account").fill("opened-here")
    form.get_by_role("button", name="Open").click()
    expect_balance(page, "opened-here", "0.00 USD")
    expect(page.locator("#accounts-says")).to_have_text("opened-here is open.")


def test_both_balances_change_without_a_reload(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("live-payer", "1000"), wallet.open("live-payee")
    page = visit.go(payer, payee)
    expect_balance(page, payee, "0.00 USD")
    page.evaluate("window.isSamePage = true")
    wallet.pay(payer, payee, "12.34", "live-1")
    expect_balance(page, payer, "-12.34 USD")
    expect_balance(page, payee, "12.34 USD")
    expect(card(page, payer).locator("tbody tr")).to_contain_text(["live-1"])
    assert page.evaluate("window.isSamePage")


def test_amounts_beyond_floats_are_shown_to_the_last_digit(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    payer, payee = wallet.open("big-payer", "92233720368547758.07"), wallet.open("big-payee")
    wallet.pay(payer, payee, "90071992547409.93", "big-1")
    page = visit.go(payee)
    expect_balance(page, payee, "90071992547409.93 USD")


def test_an_unknown_account_is_told(visit: Visit) -> None:
    page = visit.go()
    page.locator("#watch").get_by_label("Account").fill("nobody")
    page.locator("#watch").get_by_role("button").click()
    expect(page.locator("#accounts-says")).to_contain_text("account_not_found")
    expect(card(page, "nobody")).to_have_count(0)


def test_an_address_that_names_no_account_is_told_and_hurts_nothing_else(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    real = wallet.open("real")
    page = visit.go(real, "100%")
    expect_balance(page, real, "0.00 USD")
    expect(page.locator("#accounts-says")).to_have_text("100%: not the id of an account.")
    expect(page.locator("#partitions tbody tr")).to_have_count(2)


def test_the_way_past_the_overview_keeps_what_the_address_names(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    account_id = wallet.open("kept-in-the-address")
    page = visit.go(account_id)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#accounts")).to_be_focused()
    page.reload()
    expect_balance(page, account_id, "0.00 USD")


def test_a_bookmark_that_is_opened_in_the_same_tab_shows_its_accounts(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    page = visit.go(wallet.open("before-the-bookmark"))
    page.evaluate("name => location.hash = `watch=${name}`", wallet.open("in-the-bookmark"))
    expect_balance(page, "in-the-bookmark", "0.00 USD")


def test_an_entry_of_another_day_is_shown_with_its_day(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("day-payer", "1000"), wallet.open("day-payee")
    done = datetime.fromisoformat(wallet.pay(payer, payee, "1.00", "day-1")["completed_at"])
    visit.page.clock.set_fixed_time(done + timedelta(days=2))
    page = visit.go(payee)
    day = page.evaluate("at => new Date(at).toLocaleDateString()", done.isoformat())
    expect(card(page, payee).locator("tbody time")).to_contain_text(day)


def test_a_lost_connection_comes_back_with_what_was_missed(
    browser: Browser, wallet: BrowsedWallet
) -> None:
    """The proxy is killed under the page; it may complain of that, and of nothing else."""
    payer, payee = wallet.open("lost-payer", "1000"), wallet.open("lost-payee")
    visit = Visit(browser, wallet.url)
    visit.expected = "net::ERR_"
    page = visit.go(payer, payee)
    expect_balance(page, payee, "0.00 USD")
    visit.context.set_offline(offline=True)
    wallet.stack.kill("proxy")
    expect(page.locator("#connection")).to_have_text("connection lost; trying again")
    while_away = pay_until_answered(wallet, payer, payee)
    visit.context.set_offline(offline=False)
    expect(page.locator("#connection")).to_have_text("connected")
    expect_balance(page, payee, f"{while_away} USD")
    expect_balance(page, payer, f"-{while_away} USD")
    expect(page.locator("#overview-says")).not_to_contain_text("lost")
    visit.check()
    visit.context.close()


def pay_until_answered(wallet: BrowsedWallet, payer: str, payee: str) -> str:
    """One transfer, sent again with the same id until the proxy is back."""
    while True:
        try:
            wallet.pay(payer, payee, "5.00", "while-away")
        except OSError:
            continue
        return "5.00"


def test_the_slider_goes_back_through_past_balances(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("past-payer", "1000"), wallet.open("past-payee")
    visit.expected = "status of 404"  # the browser notes each refusal
    page = visit.go(payee)
    for number, amount in enumerate(("1.00", "2.00")):
        page.wait_for_timeout(300)  # five steps of the slider
        wallet.pay(payer, payee, amount, f"past-{number}")
    page.wait_for_timeout(300)
    expect_balance(page, payee, "3.00 USD")
    past = card(page, payee).locator(".past")
    card(page, payee).get_by_role("slider").focus()
    seen = [told_after(page, past, "ArrowLeft")]
    while "not open yet" not in seen[-1] and len(seen) < 1_000:
        seen.append(told_after(page, past, "ArrowLeft"))
    balances = [found[1] for text in seen if (found := re.search(r": (\S+) USD", text))]
    assert list(dict.fromkeys(balances)) == ["3.00", "1.00", "0.00"]
    expect_balance(page, payee, "3.00 USD")
    card(page, payee).get_by_role("button", name="Now").click()
    expect(past).to_have_text("now")


def told_after(page: Page, past: Locator, key: str) -> str:
    """What is told of the moment to which a key goes."""
    before = past.get_attribute("data-at")
    page.keyboard.press(key)
    if before is None:
        expect(past).to_have_attribute("data-at", re.compile("."))
    else:
        expect(past).not_to_have_attribute("data-at", before)
    return past.inner_text()


def test_no_balance_is_shown_of_a_moment_to_come(visit: Visit, wallet: BrowsedWallet) -> None:
    account_id = wallet.open("future")
    page = visit.go(account_id)
    exact = card(page, account_id).get_by_label("Or exactly at")
    exact.fill("2999-01-01T00:00:00.000")
    exact.dispatch_event("change")
    expect(card(page, account_id).locator(".past")).to_contain_text("is yet to come")


def test_the_balance_at_an_exact_moment_is_shown(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("exact-payer", "1000"), wallet.open("exact-payee")
    first = wallet.pay(payer, payee, "1.00", "exact-1")
    wallet.pay(payer, payee, "2.00", "exact-2")
    page = visit.go(payee)
    expect_balance(page, payee, "3.00 USD")
    local = page.evaluate(
        "at => { const d = new Date(at); return new Date(d - d.getTimezoneOffset() * 60000)"
        ".toISOString().slice(0, -1) }",
        first["completed_at"],
    )
    exact = card(page, payee).get_by_label("Or exactly at")
    exact.fill(local)
    exact.dispatch_event("change")
    expect(card(page, payee).locator(".past")).to_contain_text(": 1.00 USD")
