"""Where the wallet agrees to listen."""

import socket

import pytest

from ewallet.listening import check_host, free_loopback_ports, http_url, take_http_port
from runtime.process import Unfit


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "::1"])
def test_loopback_needs_no_permission(host: str) -> None:
    assert check_host(host, insecure=False) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])  # noqa: S104 - is refused
def test_other_addresses_are_refused_unless_somebody_insists(host: str) -> None:
    with pytest.raises(Unfit, match="EWALLET_INSECURE=1"):
        check_host(host, insecure=False)
    warning = check_host(host, insecure=True)
    assert warning is not None
    assert warning.startswith("WARNING")


def test_host_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(Unfit, match="not known"):
        check_host("no such host", insecure=True)


def test_busy_port_is_refused_even_when_its_owner_would_share_it() -> None:
    """The proxies of another wallet listen with SO_REUSEPORT; ours must not mix with them."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        with pytest.raises(Unfit, match=f"Port {port} .* in use"):
            take_http_port("127.0.0.1", port)
    assert take_http_port("127.0.0.1", port) == port


def test_port_zero_takes_a_free_one() -> None:
    assert take_http_port("127.0.0.1", 0) > 0


def test_a_port_that_was_taken_is_kept_for_proxies() -> None:
    port = take_http_port("127.0.0.1", 0)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with socket.socket() as proxy:
        proxy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        proxy.bind(("127.0.0.1", port))
        proxy.listen()


def test_loopback_ports_differ() -> None:
    assert len(set(free_loopback_ports(8))) == 8


def test_url_of_an_ipv6_address_has_brackets() -> None:
    assert http_url("::1", 80) == "http://[::1]:80"
    assert http_url("127.0.0.1", 80) == "http://127.0.0.1:80"
