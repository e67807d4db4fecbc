"""The client's choice of how a transfer between partitions is made all-or-nothing.

Unlike a preference it is heeded or refused, never ignored: it decides what a transfer can end in.
"""

from collections.abc import Iterable
from typing import Final

from contracts.coordination import Coordination
from proxy.core.fields import COORDINATIONS, Fault, fault

COORDINATION_HEADER: Final = "Wallet-Coordination"
"""Of a request: the choice. Of an answer: what was used, "none" within one partition."""


def choose_coordination(values: Iterable[str]) -> Coordination | Fault:
    """What all values of the header agree on. At least one value is expected.

    A list counts as several values: that is how two headers of one name may be joined on the way.
    """
    named = {part.strip(" \t").lower() for value in values for part in value.split(",")}
    coordination = COORDINATIONS.get(named.pop()) if len(named) == 1 else None
    return fault("unknown_coordination") if coordination is None else coordination
