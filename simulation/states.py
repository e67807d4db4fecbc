"""The state of any object as plain values, to compare a live machine with a replayed one.

Field by field and in order, whatever the classes are: a field that is added to the machine is
compared without anybody thinking of it. Left out is what events do not make.
"""

from array import array
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Any, Final

from msgspec import Struct

from contracts.partitioning import SlotMap

_NOT_MADE_BY_EVENTS: Final = frozenset(
    {
        "_waiting",  # commands that wait for a lock are as good as still queued
        "waiting_count",
        "released",
        "asked",  # what was sent, and how long ago
        "ticks",
        "_overdue",  # what the coordinator's ticks have found
        "_name_hash",  # hash objects that stand for the key beside them
        "_content_hash",
        "_newest",  # the name that was looked up last
        "_shared",  # which pages a snapshot may have
        "_copies",  # what the last snapshot was made of
    }
)


def state_of(thing: Any) -> Any:
    """Nested lists of plain values, equal for equal states."""
    match thing:
        case None | Enum() | SlotMap() | str() | bytes() | int() | float():
            return thing
        case bytearray() | array():
            return bytes(thing)
        case Mapping():
            return [(state_of(key), state_of(value)) for key, value in thing.items()]
        case AbstractSet():
            return sorted(map(state_of, thing))
        case Sequence():
            return [state_of(each) for each in thing]
        case _:
            return _fields_of(thing)


def _fields_of(thing: Any) -> list[tuple[str, Any]]:
    return [
        (name, state_of(getattr(thing, name)))
        for name in _names(thing)
        if name not in _NOT_MADE_BY_EVENTS
    ]


def _names(thing: Any) -> Sequence[str]:
    if isinstance(thing, Struct):
        return thing.__struct_fields__
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*slots, *sorted(getattr(thing, "__dict__", ()))]
