"""Takes the pictures of the console that the documents show: `make screenshots`.

They are made of a wallet of their own with a little load, so they show what anybody would see.
"""

import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser, Page

from tests.browser.browsing import Visit, chromium
from tests.browser.test_transfer import send
from tests.browser.wallet import BrowsedWallet, browsed_wallet

FOLDER: Final = Path(__file__).parents[2] / "docs" / "images"
BYTES_MAX: Final = 200_000
PICTURES_SHOWN: Final = 25
"""Seconds of load before the overview is taken, so that its charts show something."""


@contextmanager
def load(wallet: BrowsedWallet, payer: str, payee: str) -> Iterator[None]:
    """One transfer after the other."""
    is_over = threading.Event()

    def pay() -> None:
        number = 0
        while not is_over.wait(0.01):
            number += 1
            wallet.pay(payer, payee, "0.01", f"load-{number}")

    paying = threading.Thread(target=pay)
    paying.start()
    try:
        yield
    finally:
        is_over.set()
        paying.join()


def take(page: Page, name: str, element: str) -> None:
    """Save an element as a PNG."""
    path = FOLDER / f"{name}.png"
    page.locator(element).screenshot(path=path)
    size = path.stat().st_size
    assert size <= BYTES_MAX, f"{path} has {size} bytes"
    sys.stdout.write(f"{path.name}: {size} bytes\n")


def take_all(wallet: BrowsedWallet, browser: Browser) -> None:
    """All pictures."""
    bank = wallet.open(wallet.id_in(0, "bank"), "1000000")
    alice = wallet.open(wallet.id_in(1, "alice"))
    for number, amount in enumerate(("10.50", "3.20", "99.00")):
        wallet.pay(bank, alice, amount, f"order-{number}")
    desk = Visit(browser, wallet.url, viewport={"width": 1100, "height": 900})
    page = desk.go(bank, alice)
    with load(wallet, wallet.open("load-payer", "1000000"), wallet.open("load-payee")):
        page.wait_for_timeout(PICTURES_SHOWN * 1_000)
        take(page, "console-overview", "#overview")
    send(page, bank, alice, "12.30", "tcc")
    page.locator("#transfer-says", has_text="is done").wait_for()
    page.locator("#times tbody tr", has_text="complete").or_(
        page.locator("#times tbody tr", has_text="confirm_debit")
    ).first.wait_for()
    take(page, "console-transfer", "#transfer")
    slider = page.get_by_role("slider").last
    slider.focus()
    for _ in range(90):
        page.keyboard.press("ArrowLeft")
    page.locator(".past", has_text="USD").wait_for()
    take(page, "console-accounts", "#accounts")
    phone = Visit(
        browser, wallet.url, viewport={"width": 390, "height": 1_600}, color_scheme="dark"
    )
    page = phone.go(alice)
    page.locator("#partitions tbody tr").first.wait_for()
    page.wait_for_timeout(5_000)
    take(page, "console-phone", "body")


def main() -> None:
    """Make the folder and fill it."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        browsed_wallet(Path(folder)) as wallet,
        chromium() as browser,
    ):
        take_all(wallet, browser)


if __name__ == "__main__":
    main()
