"""A transfer made in the console, and the picture of its way."""

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browsing import WAIT_MS, Visit
from tests.browser.wallet import BrowsedWallet

pytestmark = [pytest.mark.browser, pytest.mark.server]

expect.set_options(timeout=WAIT_MS)


def send(page: Page, payer: str, payee: str, amount: str, way: str = "") -> None:
    """Fill in the form and send it."""
    form = page.locator("#transfer-form")
    form.get_by_label("From").fill(payer)
    form.get_by_label("To", exact=True).fill(payee)
    form.get_by_label("Amount").fill(amount)
    form.get_by_label("If between partitions, by").select_option(way)
    form.get_by_role("button", name="Send").click()


def balance(account_id: str) -> str:
    return f'[data-account="{account_id}"] .balance'


def shown_ms(page: Page) -> list[float]:
    """The times in the table, of which the last is the whole."""
    cells = page.locator("#times tbody").first.locator("tr td:nth-child(2)")
    return [float(text.removesuffix(" ms")) for text in cells.all_inner_texts()]


def test_a_transfer_is_made_and_both_balances_change(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("form-payer", "1000"), wallet.open("form-payee")
    page = visit.go(payer, payee)
    page.evaluate("window.isSamePage = true")
    send(page, payer, payee, "10.50")
    expect(page.locator("#transfer-says")).to_contain_text("is done: 10.50 USD moved")
    expect(page.locator(balance(payer))).to_have_text("-10.50 USD")
    expect(page.locator(balance(payee))).to_have_text("10.50 USD")
    assert page.evaluate("window.isSamePage")


def test_the_times_of_the_hops_add_up(visit: Visit, wallet: BrowsedWallet) -> None:
    payer = wallet.open(wallet.id_in(0, "hop-payer"), "1000")
    payee = wallet.open(wallet.id_in(0, "hop-payee"))
    page = visit.go()
    send(page, payer, payee, "1.00")
    expect(page.locator(".route .lit")).not_to_have_count(0)
    expect(page.locator(".route .time")).to_have_text([re.compile(r"^\d+\.\d\d ms$")] * 6)
    *hops, whole = shown_ms(page)
    assert len(hops) == 6
    assert all(each >= 0 for each in hops)
    assert sum(hops) == pytest.approx(whole, abs=0.1)
    expect(page.locator("#times tbody").last).to_be_hidden()  # one partition: no steps


@pytest.mark.parametrize(
    ("way", "steps"),
    [
        ("choreography", ["start", "credit", "complete"]),
        ("tcc", ["start", "try_debit", "try_credit", "confirm_debit", "confirm_credit"]),
    ],
)
def test_steps_between_partitions_are_shown(
    visit: Visit, wallet: BrowsedWallet, way: str, steps: list[str]
) -> None:
    payer = wallet.open(wallet.id_in(0, f"steps-payer-{way}"), "1000")
    payee = wallet.open(wallet.id_in(1, f"steps-payee-{way}"))
    page = visit.go()
    send(page, payer, payee, "1.00", way)
    rows = page.locator("#times tbody").last.locator("tr td:first-child")
    expect(rows.first).to_have_text("start")
    assert set(rows.all_inner_texts()) <= {*steps, "complete"}
    expect(page.locator(balance(payee))).to_have_text("1.00 USD")


def test_a_refusal_is_told_and_moves_nothing(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("poor-payer"), wallet.open("poor-payee")
    visit.expected = "status of 422"  # the browser notes each refusal
    page = visit.go(payer)
    send(page, payer, payee, "1.00")
    expect(page.locator("#transfer-says")).to_contain_text("insufficient_funds")
    expect(page.locator(balance(payer))).to_have_text("0.00 USD")


def test_a_wrong_amount_is_told_in_words(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("exact-change-payer", "1000"), wallet.open("exact-change-payee")
    visit.expected = "status of 400"
    page = visit.go()
    send(page, payer, payee, "1.001")
    expect(page.locator("#transfer-says")).to_have_text(
        "amount has more decimals than the currency (invalid_request)"
    )


def test_a_transfer_that_got_no_answer_is_sent_again_with_its_id(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    payer, payee = wallet.open("unanswered-payer", "1000"), wallet.open("unanswered-payee")
    visit.expected = "net::ERR_"
    page = visit.go(payer, payee)
    lost: list[str] = []

    def lose_the_first_answers(route: Route) -> None:
        if len(lost) < 2:
            route.fetch()  # the wallet does it, and the page never hears
            form = route.request.post_data_json
            assert form is not None
            lost.append(form["transaction_id"])
            route.abort()
        else:
            route.continue_()

    page.route("**/wallet/transfer", lose_the_first_answers)
    send(page, payer, payee, "4.00")
    expect(page.locator("#transfer-says")).to_contain_text("the first answer again")
    expect(page.locator(balance(payee))).to_have_text("4.00 USD")
    assert len(set(lost)) == 1


def test_a_transfer_that_nobody_ever_answers_is_given_up_and_sent_again(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    """The proxy keeps the connection and says nothing; deadlines are ten times shorter."""
    payer, payee = wallet.open("silent-payer", "1000"), wallet.open("silent-payee")
    visit.page.add_init_script(
        "const after = AbortSignal.timeout; AbortSignal.timeout = ms => after(ms / 10)"
    )
    visit.expected = "net::ERR_"
    page = visit.go()
    asked = page.locator("#transfer-form [name=transaction_id]").input_value()
    with wallet.no_proxy():
        send(page, payer, payee, "4.00")
        expect(page.locator("#transfer-says")).to_contain_text(
            "The wallet does not answer. What became of the transfer is not known."
        )
    expect(page.locator("#transfer-says")).to_contain_text(f"{asked} is done")
    expect(page.locator(balance(payee))).to_have_text("4.00 USD")
    expect(page.locator(balance(payer))).to_have_text("-4.00 USD")


def test_why_the_wallet_has_no_room_is_told_in_its_words(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    payer, payee = wallet.open("no-room-payer", "1000"), wallet.open("no-room-payee")
    visit.expected = "status of 503"
    page = visit.go()
    is_full = True

    def refuse(route: Route) -> None:
        if is_full:
            problem = {"code": "overloaded", "title": "Overloaded", "detail": "Too many wait."}
            route.fulfill(status=503, json=problem)
        else:
            route.continue_()

    page.route("**/wallet/transfer", refuse)
    send(page, payer, payee, "1.00")
    expect(page.locator("#transfer-says")).to_contain_text("Too many wait. (overloaded)")
    is_full = False
    expect(page.locator("#transfer-says")).to_contain_text("is done")


def test_another_transfer_can_be_sent_while_the_steps_of_one_are_not_known(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    payer = wallet.open(wallet.id_in(0, "next-payer"), "1000")
    payee = wallet.open(wallet.id_in(1, "next-payee"))
    page = visit.go()
    page.route("**/transfers/*", lambda _: None)  # never answered
    send(page, payer, payee, "1.00")
    expect(page.locator(balance(payee))).to_have_text("1.00 USD")
    expect(page.locator("#transfer-says")).to_contain_text("is done: 1.00 USD")
    send(page, payer, payee, "2.00")
    expect(page.locator("#transfer-says")).to_contain_text("is done: 2.00 USD")


def test_everything_can_be_done_with_the_keyboard(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("keys-payer", "1000"), wallet.open("keys-payee")
    page = visit.go()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    tab_to(page, "#transfer-form [name=from_account_id]")
    for text in (payer, payee, "2.50"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(balance(payee))).to_have_text("2.50 USD")
    slider = f'[data-account="{payee}"] [type=range]'
    tab_to(page, slider)
    outline = page.locator(slider).evaluate("node => getComputedStyle(node).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("ArrowLeft")
    expect(page.locator(f'[data-account="{payee}"] .past')).not_to_have_text("now")
    tab_to(page, f'[data-account="{payee}"] > button')
    page.keyboard.press("Enter")
    expect(page.locator(balance(payee))).to_have_count(0)


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(60):
        if page.locator(selector).evaluate("node => node === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{selector} is not reached with Tab")


def test_dark_mode_is_dark_and_light_mode_is_light(browser: Browser, wallet: BrowsedWallet) -> None:
    for scheme, is_dark in (("dark", True), ("light", False)):
        visit = Visit(browser, wallet.url, color_scheme=scheme)
        page = visit.go()
        for element, style in (
            ("body", "background-color"),
            ("#transfer-form", "background-color"),
        ):
            red, green, blue = rgb(page, element, style)
            assert (red + green + blue < 3 * 64) == is_dark
            assert contrast((red, green, blue), rgb(page, element, "color")) >= 7
        visit.check()
        visit.context.close()


def rgb(page: Page, selector: str, style: str) -> tuple[int, int, int]:
    text = page.locator(selector).evaluate(
        "(node, style) => getComputedStyle(node).getPropertyValue(style)", style
    )
    red, green, blue = (int(each) for each in re.findall(r"\d+", text)[:3])
    return red, green, blue


def contrast(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(color: tuple[int, int, int]) -> float:
        parts = [each / 255 for each in color]
        red, green, blue = (
            each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_never_scrolls_sideways(
    browser: Browser, wallet: BrowsedWallet, width: int
) -> None:
    payer = wallet.open(wallet.id_in(0, "phone-payer" + "x" * 40), "1000")
    payee = wallet.open(wallet.id_in(1, "phone-payee" + "x" * 40))
    visit = Visit(browser, wallet.url, viewport={"width": width, "height": 800}, has_touch=True)
    page = visit.go(payer, payee)
    send(page, payer, payee, "1.00", "tcc")
    expect(page.locator("#transfer-says")).to_contain_text("is done")
    expect(page.locator("#partitions tbody tr")).to_have_count(2)
    wide = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(node => !node.closest(".scroll")
            && node.getBoundingClientRect().right > innerWidth).map(node => node.outerHTML)"""
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    visit.check()
    visit.context.close()
