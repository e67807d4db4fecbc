"""The right to lead a party, between who keeps the leases and who writes the party's journal.

Leading ── grant, withdraw ──▶ Mandate ◀── use, resign, give back ── PartyWriter
"""

import asyncio
from collections.abc import Callable


class Mandate:
    """The right to lead one party."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.granted = asyncio.Event()
        self.withdrawn = asyncio.Event()
        self.withdrawn.set()
        self.is_read = False
        """Whether its journal was read to the end, since it was last made from what is stored."""
        self.is_ready = False
        """Whether the party could be led at once."""
        self.was_ready = asyncio.Event()
        self.elsewhere = asyncio.Event()
        """Another leads."""
        self.needed = asyncio.Event()
        """This writer shall lead, or nobody does who lives (`Leases.led_parties`)."""
        self.is_used = False
        """Whether something may be under way here in the leader's name."""
        self._changed = changed

    def grant(self) -> None:
        """Lead from now on."""
        self.elsewhere.clear()
        self.withdrawn.clear()
        self.granted.set()
        self.needed.set()

    def withdraw(self) -> None:
        """Lead no more, as soon as what is under way is done."""
        self.granted.clear()
        self.withdrawn.set()

    def note_led(self, *, is_led: bool) -> None:
        """Somebody who lives leads, or nobody."""
        if self.granted.is_set() or not is_led:
            self.needed.set()
        else:
            self.needed.clear()

    def set_read(self, *, is_read: bool) -> None:
        """Tell everybody whether this writer still has its journal to read."""
        if self.is_read != is_read:
            self.is_read = is_read
            self._changed()

    def set_ready(self, *, is_ready: bool) -> None:
        """Tell everybody whether the party could be led here at once."""
        if self.is_ready != is_ready:
            self.is_ready = is_ready
            self._changed()
        if is_ready:
            self.was_ready.set()

    def use(self) -> bool:
        """Begin to act as the leader; False: it was withdrawn."""
        self.is_used = self.granted.is_set()
        return self.is_used

    def give_back(self) -> None:
        """Nothing is under way here: another may lead."""
        if self.is_used:
            self.is_used = False
            self._changed()

    def resign(self) -> None:
        """Something went wrong: whoever is ready takes over, or this writer once more.

        It has to read the journal first.
        """
        self.is_read = False
        self.withdraw()
        self._changed()
