"""Which pages may watch accounts, and by which names the wallet is called, by the settings."""

import pytest

from proxy.config import read_proxy_settings
from runtime.process import Unfit

WALLET = {"EWALLET_PARTITIONS": "1"}


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("https://shop.example", ("https://shop.example",)),
        (" https://a.example , http://[::1]:8080", ("https://a.example", "http://[::1]:8080")),
    ],
)
def test_origins_are_listed_with_commas(text: str, origins: tuple[str, ...]) -> None:
    settings = read_proxy_settings(WALLET | {"EWALLET_HTTP_ORIGINS": text})
    assert settings.origins == origins


@pytest.mark.parametrize(
    "text",
    ["*", "shop.example", "https://shop.example/", "HTTPS://A", "https://a.example,", ","],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    """It would never match what a browser sends."""
    with pytest.raises(Unfit, match="EWALLET_HTTP_ORIGINS"):
        read_proxy_settings(WALLET | {"EWALLET_HTTP_ORIGINS": text})


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ()),
        (" ", ()),
        (" wallet.example , Proxy_1", ("wallet.example", "Proxy_1")),
        ("10.0.0.1,wallet.example.", ("10.0.0.1", "wallet.example.")),
        ("a" * 63, ("a" * 63,)),
    ],
)
def test_hosts_are_listed_with_commas(text: str, hosts: tuple[str, ...]) -> None:
    settings = read_proxy_settings(WALLET | {"EWALLET_HTTP_HOSTS": text})
    assert settings.hosts == hosts


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "*.example",
        "https://wallet.example",
        "wallet.example/",
        "wallet.example:8080",
        "wallet.example:99999",
        "a b",
        "wallet.example,,proxy-1",
        "wallet.example,",
        ",",
        ".",
        "..",
        "wallet..example",
        ".wallet.example",
        "-",
        "-a.example",
        "a-.example",
        "a" * 64,
        "a." * 127 + "a",
    ],
)
def test_what_is_no_name_of_a_host_is_refused(text: str) -> None:
    """It would never match what a browser sends. One sentence says what to write."""
    with pytest.raises(Unfit, match=r"^EWALLET_HTTP_HOSTS holds names .* such as [^ ]+; '.*' is "):
        read_proxy_settings(WALLET | {"EWALLET_HTTP_HOSTS": text})
