"""One wallet and one browser for all tests of the console; a page for each."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.browsing import Visit, chromium
from tests.browser.wallet import BrowsedWallet, browsed_wallet


@pytest.fixture(scope="session")
def wallet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowsedWallet]:
    """A running wallet with two partitions and one proxy process."""
    with browsed_wallet(tmp_path_factory.mktemp("browser")) as wallet:
        yield wallet


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, wallet: BrowsedWallet) -> Iterator[Visit]:
    """A visit that has done nothing wrong when the test is over."""
    visit = Visit(browser, wallet.url)
    yield visit
    visit.check()
    visit.context.close()
