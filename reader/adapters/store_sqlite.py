"""The read store in one SQLite file.

Rows are appended in the order of their sequences, which dirties few pages. A statement is a chain:
each transfer holds the sequence of either account's entry before it, so no index is kept for it
but the marks. What would touch a random page per transfer, the index of names and the accounts'
balances, follows behind up to `indexed_sequence` in large sorted steps made inside SQLite; the
names in between are in memory, and opening a file makes good what is missing.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.chain import Tip, genesis
from reader.core.rows import AccountRow, Cursor, Group, Name, RecordedRow, RejectionRow, TransferRow
from reader.ports import Stored, StoreFault, StoreUnfit

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x4577_616C  # "Ewal"
INDEX_ROWS: Final = 32_768
"""Transfers between two steps of the indexes. Larger steps cost less and hold more names in
memory, about 300 bytes each."""

_SQLITE_VERSION_MIN: Final = (3, 37)
_WAL_PAGES: Final = 4_096
_CACHE_KIB: Final = 32_768
_BUSY_MS: Final = 5_000

_PASSING_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
    }
)

_SCHEMA: Final = """
CREATE TABLE accounts (
    number INTEGER PRIMARY KEY,
    account_id TEXT NOT NULL UNIQUE,
    currency TEXT NOT NULL,
    overdraft_limit_minor INTEGER NOT NULL,
    opened_sequence INTEGER NOT NULL,
    opened_at_ms INTEGER NOT NULL,
    posted_minor INTEGER NOT NULL,      -- this and the next two as of cursor.indexed_sequence
    newest_sequence INTEGER NOT NULL,
    entry_count INTEGER NOT NULL
) STRICT;
CREATE TABLE transfers (
    sequence INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    payer INTEGER NOT NULL,
    payee INTEGER NOT NULL,
    transaction_id TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    payer_balance_minor INTEGER NOT NULL,
    payee_balance_minor INTEGER NOT NULL,
    payer_previous INTEGER NOT NULL,
    payee_previous INTEGER NOT NULL
) STRICT;
CREATE TABLE names (                    -- as of cursor.indexed_sequence
    payer INTEGER NOT NULL,
    transaction_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (payer, transaction_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE rejections (
    sequence INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    payer_id TEXT NOT NULL,
    payee_id TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    reason INTEGER NOT NULL,
    balance_minor INTEGER NOT NULL,
    UNIQUE (payer_id, transaction_id)
) STRICT;
CREATE TABLE marks (
    account INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (account, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE moments (
    first_sequence INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL UNIQUE
) STRICT;
CREATE TABLE cursor (
    partition INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    hash BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    stream_sequence INTEGER NOT NULL,
    indexed_sequence INTEGER NOT NULL
) STRICT;
"""

_ADD_ACCOUNT: Final = "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_TRANSFER: Final = "INSERT INTO transfers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_REJECTION: Final = "INSERT INTO rejections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_MARK: Final = "INSERT INTO marks VALUES (?, ?)"
_ADD_MOMENT: Final = "INSERT INTO moments VALUES (?, ?)"
_MOVE_CURSOR: Final = (
    "UPDATE cursor SET sequence = ?, hash = ?, epoch = ?, at_ms = ?, stream_sequence = ?"
)

_INDEX_NAMES: Final = """
INSERT INTO names SELECT payer, transaction_id, sequence FROM transfers
WHERE sequence > (SELECT indexed_sequence FROM cursor) ORDER BY payer, transaction_id
"""

# With max() SQLite takes the other columns from the row of the maximum (its documentation of
# SELECT, "bare columns in an aggregate query").
_INDEX_ACCOUNTS: Final = """
UPDATE accounts SET
    posted_minor = touched.balance_minor,
    newest_sequence = touched.newest,
    entry_count = entry_count + touched.entries
FROM (
    SELECT account, max(sequence) AS newest, balance_minor, count(*) AS entries FROM (
        SELECT payer AS account, sequence, payer_balance_minor AS balance_minor FROM transfers
        WHERE sequence > (SELECT indexed_sequence FROM cursor)
        UNION ALL
        SELECT payee, sequence, payee_balance_minor FROM transfers
        WHERE sequence > (SELECT indexed_sequence FROM cursor)
    ) GROUP BY account
) AS touched
WHERE accounts.number = touched.account
"""

# SQLite has no checksums: what balances must satisfy is asked before they are believed.
_CONTRADICTED_ACCOUNT: Final = """
SELECT account_id FROM accounts LEFT JOIN transfers ON sequence = newest_sequence
WHERE posted_minor <> CASE
    WHEN newest_sequence = 0 THEN 0
    WHEN payer = number THEN payer_balance_minor
    WHEN payee = number THEN payee_balance_minor
    ELSE posted_minor + 1 END
LIMIT 1
"""
_UNBALANCED_CURRENCY: Final = """
SELECT currency FROM accounts GROUP BY currency
HAVING sum(posted_minor >> 32) * 4294967296 + sum(posted_minor & 4294967295) <> 0
LIMIT 1
"""


class SqliteReadStore:
    """Port `ReadStore` on one file. `write` and `tidy` come from one thread at a time."""

    def __init__(self, path: Path, partition: int) -> None:
        """Open or make the file; raise StoreUnfit if it is not a sound store of the partition."""
        self._path = path
        self._partition = partition
        self._connections: list[sqlite3.Connection] = []
        self._unindexed: dict[Name, int] = {}
        self._unindexed_rows = 0
        if sqlite3.sqlite_version_info < _SQLITE_VERSION_MIN:
            raise StoreUnfit(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or newer is needed")
        with self._faults():
            self._db = self._connect()
            self._provide_schema()
        self.tidy(at_once=True)

    def load(self) -> Stored:
        """See the port."""
        with self._faults():
            tip, stream_sequence = self._cursor()
            accounts = self._db.execute("SELECT * FROM accounts ORDER BY number").fetchall()
            contradicted = self._db.execute(_CONTRADICTED_ACCOUNT).fetchone()
            unbalanced = self._db.execute(_UNBALANCED_CURRENCY).fetchone()
        if contradicted is not None or unbalanced is not None:
            where = contradicted or unbalanced
            raise StoreUnfit(
                f"The read store {self._path} is damaged: the balances of {where[0]} do not agree "
                f"with its transfers. {_REBUILD}"
            )
        return Stored(Cursor(tip, stream_sequence), [AccountRow._make(row) for row in accounts])

    def write(self, group: Group) -> None:
        """See the port."""
        assert group.cursor is not None, "an empty group is not written"
        tip, stream_sequence = group.cursor
        with self._transaction() as db:
            db.executemany(_ADD_ACCOUNT, group.accounts)
            db.executemany(_ADD_TRANSFER, group.transfers)
            db.executemany(_ADD_REJECTION, group.rejections)
            db.executemany(_ADD_MARK, sorted(group.marks))
            db.executemany(_ADD_MOMENT, group.moments)
            db.execute(_MOVE_CURSOR, (*msgspec.structs.astuple(tip), stream_sequence))
        self._unindexed.update(group.names)
        self._unindexed_rows += len(group.transfers)

    def tidy(self, *, at_once: bool = False) -> None:
        """See the port."""
        if self._unindexed_rows < INDEX_ROWS and not at_once:
            return
        with self._transaction() as db:
            db.execute(_INDEX_NAMES)
            db.execute(_INDEX_ACCOUNTS)
            db.execute("UPDATE cursor SET indexed_sequence = sequence")
        # Replaced, not cleared: a reading that looked here first finds the names in the file.
        self._unindexed = {}
        self._unindexed_rows = 0

    def reading(self) -> "SqliteStoreReading":
        """See the port."""
        return SqliteStoreReading(self, self._connect(), self._path)

    def unindexed_sequence(self, name: Name) -> int | None:
        """The sequence of a name that the index does not hold yet."""
        return self._unindexed.get(name)

    def close(self) -> None:
        """See the port. The file stands alone afterwards, without a WAL beside it."""
        try:
            self.tidy(at_once=True)
        finally:
            for connection in reversed(self._connections):
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connections.append(db)
        db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return db

    def _provide_schema(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        is_blank = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == 0 and is_blank:
            self._make_schema()
        elif (version, self._application_id()) != (SCHEMA_VERSION, APPLICATION_ID):
            raise StoreUnfit(
                f"The read store {self._path} has schema version {version}, this program knows "
                f"{SCHEMA_VERSION}. {_REBUILD}"
            )
        partitions = [row[0] for row in self._db.execute("SELECT partition FROM cursor")]
        if partitions != [self._partition]:
            raise StoreUnfit(
                f"The read store {self._path} belongs to partition {partitions}, not "
                f"{self._partition}. {_REBUILD}"
            )

    def _make_schema(self) -> None:
        start = genesis(self._partition)
        with self._transaction() as db:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
            db.execute(
                "INSERT INTO cursor VALUES (?, ?, ?, ?, ?, 0, 0)",
                (self._partition, *msgspec.structs.astuple(start)),
            )
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _application_id(self) -> int:
        return int(self._db.execute("PRAGMA application_id").fetchone()[0])

    def _cursor(self) -> tuple[Tip, int]:
        row = self._db.execute(
            "SELECT sequence, hash, epoch, at_ms, stream_sequence FROM cursor"
        ).fetchone()
        return Tip(*row[:4]), row[4]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; turns SQLite's errors into the port's faults."""
        with self._faults():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise fault_of(error, self._path) from error


class SqliteStoreReading:
    """Port `StoreReading` over a connection of its own."""

    def __init__(self, store: SqliteReadStore, db: sqlite3.Connection, path: Path) -> None:
        self._store = store
        self._db = db
        self._path = path

    def row(self, sequence: int) -> RecordedRow | None:
        """See the port."""
        found = self._one("SELECT * FROM transfers WHERE sequence = ?", sequence)
        if found is not None:
            return TransferRow._make(found)
        found = self._one("SELECT * FROM rejections WHERE sequence = ?", sequence)
        return None if found is None else RejectionRow._make(found)

    def sequence_named(self, name: Name, payer: int | None) -> int | None:
        """See the port."""
        sequence = self._store.unindexed_sequence(name)
        if sequence is not None:
            return sequence
        if payer is not None:
            sequence = self._number(
                "SELECT sequence FROM names WHERE payer = ? AND transaction_id = ?", payer, name[1]
            )
        if sequence is None:
            sequence = self._number(
                "SELECT sequence FROM rejections WHERE payer_id = ? AND transaction_id = ?", *name
            )
        return sequence

    def mark_from(self, account: int, sequence: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT sequence FROM marks WHERE account = ? AND sequence >= ? ORDER BY sequence",
            account,
            sequence,
        )

    def time_of(self, sequence: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT at_ms FROM moments WHERE first_sequence <= ? ORDER BY first_sequence DESC",
            sequence,
        )

    def first_sequence_after(self, at_ms: int) -> int | None:
        """See the port."""
        return self._number(
            "SELECT first_sequence FROM moments WHERE at_ms > ? ORDER BY at_ms", at_ms
        )

    def _number(self, statement: str, *values: Any) -> int | None:
        found = self._one(statement, *values)
        return None if found is None else int(found[0])

    def _one(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        """The first row of a statement's result."""
        try:
            row: tuple[Any, ...] | None = self._db.execute(
                f"{statement} LIMIT 1", values
            ).fetchone()
        except sqlite3.Error as error:
            raise fault_of(error, self._path) from error
        found: tuple[Any, ...] | None = row
        return found


_REBUILD: Final = (
    "Nothing was changed. The read store holds nothing that the journal does not hold too: "
    "rebuild it with `ewallet reader rebuild`, or remove its folder and start again."
)


def fault_of(error: sqlite3.Error, path: Path) -> StoreFault | StoreUnfit:
    """What an error of SQLite means for the reader: it may pass, or the file is unfit."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in _PASSING_CODES:
        return StoreFault(f"{path}: {error}")
    return StoreUnfit(f"The read store {path} is damaged: {error}. {_REBUILD}")
