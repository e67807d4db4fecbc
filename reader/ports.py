"""What the reader needs of a read store, and the faults that stop or slow it.

ReaderFault         an operating failure
├── StoreFault      it failed now (disk full, no database, …); try again: a group that was
│                   written nevertheless is not written twice
└── StoreMovedBack  the store lost what was written; a new process continues from its cursor
ReaderUnfit         a restart does not cure it; the message says what to do
├── StoreUnfit      the read store is damaged or not ours
└── JournalInDoubt  the journal is not the one that was projected before
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from reader.core.rows import (
    AccountRow,
    Cursor,
    EntryRow,
    Group,
    Name,
    RecordedRow,
    UnfinishedRow,
)
from runtime.process import Fault, Unfit


class ReaderFault(Fault):
    """An operating failure of this process."""


class StoreFault(ReaderFault):
    """The store can't be used now. What was written is there whole or not at all."""


class StoreMovedBack(ReaderFault):
    """Rows that were written are gone, as after a restore of a database from its backup."""


class ReaderUnfit(Unfit):
    """This process must not run. The message is for its operator."""


class StoreUnfit(ReaderUnfit):
    """The store can't be used; it can always be rebuilt from the journal."""


class JournalInDoubt(ReaderUnfit):
    """The journal contradicts what was read of it before."""


class Stored(NamedTuple):
    """Where the projection continues."""

    cursor: Cursor
    at_ms: int
    """Unix ms of the newest event, BEFORE_ANY_TIME before the first."""
    accounts: Sequence[AccountRow]
    """In the order of their numbers."""
    unfinished: Sequence[UnfinishedRow]
    """In the order of their starts."""


class StoreReading(Protocol):
    """Finds rows. One thread at a time may use it. Everything raises StoreFault or StoreUnfit."""

    def row(self, sequence: int) -> RecordedRow | None:
        """The transfer, step or rejection of a sequence."""
        ...

    def rows(self, sequences: Sequence[int]) -> dict[int, RecordedRow]:
        """The rows of those sequences that have one, by sequence."""
        ...

    def entries(self, account: int, newest: int, count: int) -> list[EntryRow]:
        """At most so many entries of an account, from one of them back, newest first."""
        ...

    def sequence_named(self, name: Name, payer: int | None) -> int | None:
        """The sequence of a named transfer's outcome; payer is the account's number, if any."""
        ...

    def credits_named(self, name: Name) -> list[int]:
        """Sequences of the payee's side of a named transfer, in no order."""
        ...

    def held_at(self, account: int, sequence: int) -> int:
        """What an account holds after a sequence, in minor units."""
        ...

    def held_after(self, account: int, sequence: int, count: int) -> list[tuple[int, int]]:
        """(sequence, held_minor) of the next changes of what an account holds, at most so many."""
        ...

    def mark_from(self, account: int, sequence: int) -> int | None:
        """The oldest marked entry of an account at or after a sequence."""
        ...

    def time_of(self, sequence: int) -> int | None:
        """Unix ms of a sequence at or before the cursor."""
        ...

    def first_sequence_after(self, at_ms: int) -> int | None:
        """The first sequence with a later time, None if the store holds none."""
        ...


class ReadStore(Protocol):
    """Keeps one partition's projection. All of it can be rebuilt from the journal.

    Several readers may share one, each with an object of its own: each writes all groups that it
    projects, and what another wrote before is skipped.
    """

    def load(self) -> Stored:
        """What was stored last: the cursor, and what is as of it.

        Raise StoreUnfit if balances or holds do not agree with the rows that made them.
        """
        ...

    def write(self, group: Group) -> None:
        """Add a group and its cursor in one transaction.

        Raise StoreFault, StoreUnfit or StoreMovedBack.
        """
        ...

    def tidy(self, *, at_once: bool = False) -> None:
        """Bring indexes up to the cursor where that is worth it. Raise as `write` does."""
        ...

    def reading(self) -> StoreReading:
        """A way to read beside `write`, for one more thread."""
        ...

    def close(self) -> None:
        """Tidy up and let go; nothing may be read or written afterwards."""
        ...
