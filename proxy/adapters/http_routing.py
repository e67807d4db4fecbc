"""From host, method and address to a call's handler.

The frequent request, a known address without parameters written in its plain form, is one
look-up; everything else is split, percent-decoded and held against the table of calls.
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache, partial
from typing import Final
from urllib.parse import unquote

from aiohttp import hdrs, web

from proxy.adapters.http_calls import Call
from proxy.adapters.http_handlers import Handlers, Target
from proxy.adapters.http_responses import HeaderLines, problem_response
from proxy.core.hosts import Hosts, called_host
from proxy.core.parameters import Pairs, split_query
from proxy.core.problems import HOST_NOT_ALLOWED, METHOD_NOT_ALLOWED, NOT_FOUND, Problem

_Bound = Callable[[web.BaseRequest, Target], Awaitable[web.StreamResponse]]

_NO_TARGET: Final = Target(path=[], query=[])


_HOSTS_REMEMBERED: Final = 64

_FOR_ANY_HOST: Final = frozenset({"/healthz", "/readyz"})
"""Who checks health calls a proxy as it likes, and is told nothing that anybody could use."""


Shared = Callable[[web.BaseRequest], HeaderLines]
"""What lets the page that asks read the answer, if it may."""


class _Address:
    """What may be done at one address."""

    def __init__(self, template: str) -> None:
        self.segments = template.split("/")
        self.methods: dict[str, _Bound] = {}
        self.is_shared = False
        """Whether pages on other hosts may read answers, also those that are made here."""


class Routes:
    """The calls by address, bound to one set of handlers, for who calls one of the hosts."""

    def __init__(
        self, calls: Iterable[Call], handlers: Handlers, hosts: Hosts, shared: Shared
    ) -> None:
        self._is_called = lru_cache(_HOSTS_REMEMBERED)(hosts.include)
        self._shared = shared
        self._addresses: dict[str, _Address] = {}
        self._plain: dict[tuple[str, str], _Bound] = {}
        for call in calls:
            address = self._addresses.setdefault(call.path, _Address(call.path))
            address.is_shared |= call.is_shared
            for method in (call.method, "HEAD") if call.method == "GET" else (call.method,):
                address.methods[method] = bound = partial(call.handler, handlers)
                if "{" not in call.path:
                    self._plain[method, call.path] = bound

    def dispatch(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """The answer to a request, still to be awaited."""
        host = called_host(request.raw_path, request.headers.get(hdrs.HOST))
        if host is not None and not self._is_called(host):
            return self._misdirected(request)
        handler = self._plain.get((request.method, request.raw_path))
        if handler is not None:
            return handler(request, _NO_TARGET)
        return self._resolve(request)

    async def _misdirected(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.rel_url.raw_path_qs in _FOR_ANY_HOST:
            return await self._resolve(request)
        address, _ = self._find(request)
        return problem_response(Problem(HOST_NOT_ALLOWED), self._sharing(address, request))

    async def _resolve(self, request: web.BaseRequest) -> web.StreamResponse:
        address, path = self._find(request)
        if address is None:
            return problem_response(Problem(NOT_FOUND))
        handler = address.methods.get(request.method)
        if handler is None:
            allow = ("Allow", ", ".join(sorted(address.methods)))
            headers = [allow, *self._sharing(address, request)]
            return problem_response(Problem(METHOD_NOT_ALLOWED), headers)
        query = split_query(request.rel_url.raw_query_string)
        return await handler(request, Target(path=path, query=query))

    def _find(self, request: web.BaseRequest) -> tuple[_Address | None, Pairs]:
        """The address with what stands in its place holders."""
        # rel_url is also right when the client sent a whole address
        segments = request.rel_url.raw_path.split("/")
        for address in self._addresses.values():
            path = _match(address.segments, segments)
            if path is not None:
                return address, path
        return None, []

    def _sharing(self, address: _Address | None, request: web.BaseRequest) -> HeaderLines:
        is_shared = address is not None and address.is_shared
        return self._shared(request) if is_shared else ()


def _match(template: list[str], segments: list[str]) -> Pairs | None:
    """Path parameters by name when the segments fit; templates exclude each other by shape."""
    if len(template) != len(segments):
        return None
    found: Pairs = []
    for expected, segment in zip(template, segments, strict=True):
        if expected.startswith("{"):
            found.append((expected[1:-1], unquote(segment)))
        elif expected != segment:
            return None
    return found
