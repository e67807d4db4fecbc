"""By which names a proxy lets itself be called.

There is no authentication yet: whoever reaches a proxy may do everything. What keeps strangers'
pages from it is the browser, which lets a page read and send freely only where the page is from.
But a page's name may lead to its own server first and to a proxy a moment later (DNS rebinding).
Then the proxy is where the page is from; all that still gives the page away is its name, which the
browser sends in `Host`. Addresses can't be led elsewhere, and no browser asks a name server for
`localhost`.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

_HOST: Final = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::[0-9]*)?")


_AUTHORITY: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]+)")


def called_host(target: str, host: str | None) -> str | None:
    """What a request calls: what stands in its target, or else in its header `Host`.

    A target may be a whole address (`GET http://wallet.example/ HTTP/1.1`), and then `Host` does
    not count (RFC 9112, section 3.2.2). None: it calls nobody.
    """
    if target.startswith("/"):  # as nearly all do
        return host
    found = _AUTHORITY.match(target)
    return host if found is None else found[1]


class Hosts:
    """The names that a proxy was given; it answers to `localhost` and to addresses anyway."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset({"localhost", *(name.lower() for name in names)})

    def include(self, host: str) -> bool:
        """Whether who calls this host calls this wallet; on which port does not matter.

        An empty one calls nobody; no browser sends it.
        """
        if not host:
            return True
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found["name"] or found["ipv6"]
        return name in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
