"""Drawing quickly: hypothesis takes most of a property's time, and takes it by the choice."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeVar

from hypothesis import strategies as st

_T = TypeVar("_T")


def drawn_at_once(make: Callable[..., _T], *choices: Sequence[Any]) -> st.SearchStrategy[_T]:
    """As `st.builds` of what is sampled from each of them, by one choice in the place of many.

    It shrinks towards the first of each, the last ones before the others.
    """

    def made(number: int) -> _T:
        picked = []
        for choice in choices:
            number, at = divmod(number, len(choice))
            picked.append(choice[at])
        return make(*picked)

    return st.integers(0, prod(map(len, choices)) - 1).map(made)
