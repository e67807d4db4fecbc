"""The wallet as a whole in the console."""

import re
import threading

import pytest
from playwright.sync_api import Page, expect

from tests.browser.browsing import WAIT_MS, Visit
from tests.browser.wallet import BrowsedWallet

pytestmark = [pytest.mark.browser, pytest.mark.server]

expect.set_options(timeout=WAIT_MS)


def row_of(page: Page, partition: int) -> list[str]:
    """The cells of a partition's first row."""
    rows = page.locator("#partitions tbody tr")
    return rows.nth(partition).locator("td").all_inner_texts()


def test_partitions_have_leaders_tips_and_whole_chains(visit: Visit, wallet: BrowsedWallet) -> None:
    wallet.open("seen-in-overview")
    page = visit.go()
    chains = page.locator("#partitions tbody tr td:last-child")
    expect(chains).to_have_text([re.compile("whole, at [0-9a-f]{8}")] * 2)
    expect(page.locator("#overview-says")).to_have_text(
        "Every partition has a writer and a reader."
    )
    partition, leader, _, epoch, tip, reader, read_to, lag, *_ = row_of(page, 0)
    assert partition == "0"
    assert "nobody" not in {leader, reader}
    assert int(epoch) >= 1
    assert int(tip) == int(read_to) >= 1
    assert lag == "0 events, 0 frames"


def test_transfers_are_counted_while_they_are_made(visit: Visit, wallet: BrowsedWallet) -> None:
    payer, payee = wallet.open("pace-payer", "1000000"), wallet.open("pace-payee")
    page = visit.go()
    is_over = threading.Event()

    def keep_paying() -> None:
        number = 0
        while not is_over.wait(0.02):
            number += 1
            wallet.pay(payer, payee, "0.01", f"pace-{number}")

    paying = threading.Thread(target=keep_paying)
    paying.start()
    try:
        expect(page.locator("#completed")).to_have_text(re.compile("^[1-9]"))
        expect(page.locator("#p99")).to_have_text(re.compile("[1-9].* ms"))
    finally:
        is_over.set()
        paying.join()
    expect(page.locator("#rate-chart canvas")).to_be_visible()
    expect(page.locator("#completed")).to_have_text("0.0")


def test_no_line_is_drawn_over_a_time_of_which_nothing_is_known(visit: Visit) -> None:
    page = visit.go()
    drawn = page.evaluate(
        """async () => {
            const { withPoint } = await import("/console/charts.js");
            const points = [[100, 1], [101, 2], [161, 3], [162, 4], [222, 5]];
            return points.reduce(withPoint, [[], []]);
        }"""
    )
    times, values = drawn
    assert times == [161, 162, 163, 222]
    assert values == [3, 4, None, 5]


def test_unfinished_transfers_are_named_with_their_steps(
    visit: Visit, wallet: BrowsedWallet
) -> None:
    payer = wallet.open(wallet.id_in(0, "unfinished-payer"), "1000")
    payee = wallet.open(wallet.id_in(1, "unfinished-payee"))
    page = visit.go()
    wanted = {"Wallet-Coordination": "tcc", "Prefer": "respond-async"}
    with wallet.no_coordinator():
        wallet.pay(payer, payee, "7.00", "unfinished-1", **wanted)
        row = page.locator("#unfinished tbody tr")
        expect(row).to_contain_text([f"{payer} → {payee}"])
        expect(row.locator("td").nth(3)).to_have_text("7.00 USD")
        expect(row.locator("td").last).to_contain_text("start (0)")
    expect(page.locator("#unfinished-says")).to_have_text("None.")
