"""The client's wishes about waiting and timing: the header `Prefer` (RFC 7240).

Preferences are wishes, so what is unknown or malformed is ignored, never refused.
"""

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from contracts.limits import WAIT_MS_MAX
from proxy.core.timing import TIMED

WAIT_S_MAX: Final = WAIT_MS_MAX // 1_000

_PREFERENCE: Final = re.compile(r'\s*([!#$%&\'*+.^_`|~\w-]+)\s*(?:=\s*"?([^";]*)"?)?', re.ASCII)
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


class Preferences(Struct, frozen=True):
    """How long the client is willing to wait, and what to say was heeded."""

    wait_ms: int | None
    """None: it did not say."""
    applied: str
    """Value of `Preference-Applied`; empty: nothing was asked for."""
    is_timed: bool = False
    """It wants to know where the time goes."""


NO_PREFERENCES: Final = Preferences(wait_ms=None, applied="")


def parse_preferences(headers: Iterable[str]) -> Preferences:
    """Read all `Prefer` headers of a request; of a repeated preference the first counts.

    `wait=n` waits n seconds, at most 60; `respond-async` alone does not wait; both together wait
    and then answer 202, as RFC 7240 section 4.3 says (which is what `wait` does anyway).
    `server-timing` is not a registered preference: it asks for the header of that name.
    """
    wished = _first_of_each(headers)
    applied = []
    wait_ms = None
    if "respond-async" in wished:
        applied.append("respond-async")
        wait_ms = 0
    if _SECONDS.fullmatch(wished.get("wait", "")):
        wait_s = min(int(wished["wait"]), WAIT_S_MAX)
        applied.append(f"wait={wait_s}")
        wait_ms = wait_s * 1_000
    is_timed = TIMED in wished
    if is_timed:
        applied.append(TIMED)
    return Preferences(wait_ms=wait_ms, applied=", ".join(applied), is_timed=is_timed)


def _first_of_each(headers: Iterable[str]) -> dict[str, str]:
    wished: dict[str, str] = {}
    for header in headers:
        for part in header.split(","):
            match = _PREFERENCE.match(part)
            if match is not None:
                wished.setdefault(match[1].lower(), (match[2] or "").strip())
    return wished
