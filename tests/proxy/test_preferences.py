"""The header Prefer."""

from __future__ import annotations

import pytest

from proxy.core.preferences import parse_preferences


@pytest.mark.parametrize(
    ("headers", "wait_ms", "applied"),
    [
        (["respond-async"], 0, "respond-async"),
        (["wait=5"], 5_000, "wait=5"),
        (['wait="5"'], 5_000, "wait=5"),
        (["Wait = 5"], 5_000, "wait=5"),
        (["wait=0"], 0, "wait=0"),
        (["wait=60"], 60_000, "wait=60"),
        (["wait=61"], 60_000, "wait=60"),
        (["wait=999999999"], 60_000, "wait=60"),
        (["respond-async, wait=5"], 5_000, "respond-async, wait=5"),
        (["wait=5", "respond-async"], 5_000, "respond-async, wait=5"),
        (["wait=5, wait=7"], 5_000, "wait=5"),
        (["wait=5;foo=bar"], 5_000, "wait=5"),
        (["return=minimal, wait=5"], 5_000, "wait=5"),
        ([], None, ""),
        ([""], None, ""),
        (["return=minimal"], None, ""),
        (["wait"], None, ""),
        (["wait=-1"], None, ""),
        (["wait=1.5"], None, ""),
        (["wait=1e3"], None, ""),
        (["wait=9999999999"], None, ""),
        (["wait=\uff15"], None, ""),
        ([",,;=,"], None, ""),
        (["server-timing"], None, "server-timing"),
        (["wait=5, server-timing"], 5_000, "wait=5, server-timing"),
    ],
)
def test_wishes_are_heeded_or_ignored(
    headers: list[str], wait_ms: int | None, applied: str
) -> None:
    preferences = parse_preferences(headers)
    assert (preferences.wait_ms, preferences.applied) == (wait_ms, applied)
