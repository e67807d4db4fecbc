"""The tables of the SQLite store, and the statements that fill, index and doubt them.

Rows are appended in the order of their sequences, which dirties few pages. A statement is a chain:
each transfer or step holds the sequence of its account's entry before it, so no index is kept for
it but the marks. What would touch a random page per transfer, the indexes of names and the
accounts' balances, follows behind up to `indexed_sequence` in large sorted steps made inside
SQLite.
"""

from typing import Final

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x4577_616C  # "Ewal"

SCHEMA: Final = """
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
CREATE TABLE steps (
    sequence INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind INTEGER NOT NULL,              -- reader.core.rows.StepKind
    step INTEGER NOT NULL,              -- contracts.coordination.Step
    reason INTEGER NOT NULL,
    coordination INTEGER NOT NULL,
    account INTEGER NOT NULL,
    unopened_id TEXT NOT NULL,
    counterparty_id TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    moved_minor INTEGER NOT NULL,
    balance_minor INTEGER NOT NULL,
    previous_entry INTEGER NOT NULL,
    previous_step INTEGER NOT NULL
) STRICT;
CREATE TABLE held (
    account INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    held_minor INTEGER NOT NULL,
    PRIMARY KEY (account, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE unfinished (
    started_sequence INTEGER PRIMARY KEY,
    newest_sequence INTEGER NOT NULL
) STRICT;
CREATE TABLE inflow (                   -- as of cursor.indexed_sequence
    currency TEXT PRIMARY KEY,
    minor_high INTEGER NOT NULL,        -- minor_high * 2^32 + minor_low: more than 64 bits
    minor_low INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE credits (                  -- as of cursor.indexed_sequence
    payer_id TEXT NOT NULL,
    transaction_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (payer_id, transaction_id, sequence)
) STRICT, WITHOUT ROWID;
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
CREATE VIEW unindexed_transfers AS
SELECT * FROM transfers WHERE sequence > (SELECT indexed_sequence FROM cursor);
CREATE VIEW unindexed_steps AS
SELECT * FROM steps WHERE sequence > (SELECT indexed_sequence FROM cursor);
"""

ADD_ACCOUNT: Final = "INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
ADD_TRANSFER: Final = "INSERT INTO transfers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ADD_STEP: Final = "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ADD_HELD: Final = "INSERT INTO held VALUES (?, ?, ?)"
PUT_UNFINISHED: Final = "INSERT OR REPLACE INTO unfinished VALUES (?, ?)"
END_UNFINISHED: Final = "DELETE FROM unfinished WHERE started_sequence = ?"
ADD_REJECTION: Final = "INSERT INTO rejections VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
ADD_MARK: Final = "INSERT INTO marks VALUES (?, ?)"
ADD_MOMENT: Final = "INSERT INTO moments VALUES (?, ?)"
MOVE_CURSOR: Final = (
    "UPDATE cursor SET sequence = ?, hash = ?, epoch = ?, at_ms = ?, stream_sequence = ?"
)

_INDEX_NAMES: Final = """
INSERT INTO names
SELECT payer, transaction_id, sequence FROM unindexed_transfers
UNION ALL
SELECT account, transaction_id, sequence FROM unindexed_steps WHERE kind = 2 -- OUTCOME
ORDER BY 1, 2
"""

_INDEX_CREDITS: Final = """
INSERT INTO credits SELECT counterparty_id, transaction_id, sequence FROM unindexed_steps
WHERE kind = 3 -- CREDIT
ORDER BY 1, 2, 3
"""

_INDEX_INFLOW: Final = """
INSERT INTO inflow SELECT currency, high + (low >> 32), low & 4294967295 FROM (
    SELECT currency, sum(moved_minor >> 32) AS high, sum(moved_minor & 4294967295) AS low
    FROM unindexed_steps JOIN accounts ON number = account
    WHERE moved_minor <> 0 GROUP BY currency
) WHERE true
ON CONFLICT DO UPDATE SET
    minor_high = minor_high + excluded.minor_high + ((minor_low + excluded.minor_low) >> 32),
    minor_low = (minor_low + excluded.minor_low) & 4294967295
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
        SELECT payer AS account, sequence, payer_balance_minor AS balance_minor
        FROM unindexed_transfers
        UNION ALL
        SELECT payee, sequence, payee_balance_minor FROM unindexed_transfers
        UNION ALL
        SELECT account, sequence, balance_minor FROM unindexed_steps WHERE moved_minor <> 0
    ) GROUP BY account
) AS touched
WHERE accounts.number = touched.account
"""

INDEX: Final = (
    _INDEX_NAMES,
    _INDEX_CREDITS,
    _INDEX_INFLOW,
    _INDEX_ACCOUNTS,
    "UPDATE cursor SET indexed_sequence = sequence",
)
"""What brings the indexes up to the cursor, in this order."""

UNFINISHED: Final = """
SELECT start.*, newest.* FROM unfinished
JOIN steps AS start ON start.sequence = started_sequence
JOIN steps AS newest ON newest.sequence = newest_sequence
ORDER BY started_sequence
"""

_CONTRADICTED_ACCOUNT: Final = """
SELECT account_id FROM accounts
LEFT JOIN transfers ON transfers.sequence = newest_sequence
LEFT JOIN steps ON steps.sequence = newest_sequence
WHERE posted_minor <> CASE
    WHEN newest_sequence = 0 THEN 0
    WHEN payer = number THEN payer_balance_minor
    WHEN payee = number THEN payee_balance_minor
    WHEN account = number AND moved_minor <> 0 THEN balance_minor
    ELSE posted_minor + 1 END
LIMIT 1
"""
_UNBALANCED_CURRENCY: Final = """
SELECT currency FROM accounts LEFT JOIN inflow USING (currency) GROUP BY currency
HAVING (sum(posted_minor >> 32) - coalesce(max(minor_high), 0)) * 4294967296
    + sum(posted_minor & 4294967295) - coalesce(max(minor_low), 0) <> 0
LIMIT 1
"""
_CONTRADICTED_UNFINISHED: Final = """
SELECT started_sequence FROM unfinished
LEFT JOIN steps AS start ON start.sequence = started_sequence
LEFT JOIN steps AS newest ON newest.sequence = newest_sequence
WHERE start.kind IS NOT 0                         -- START
OR coalesce(newest.kind, -1) NOT IN (0, 1)        -- START, DEBIT
OR (newest.account, newest.transaction_id) <> (start.account, start.transaction_id)
LIMIT 1
"""
_CONTRADICTED_HOLDS: Final = """
WITH holding AS (
    SELECT account AS number, sum(amount_minor) AS minor FROM unfinished
    JOIN steps ON sequence = newest_sequence
    WHERE step = 11                               -- TRY_DEBIT
    GROUP BY account
)
SELECT account_id FROM accounts LEFT JOIN holding USING (number)
WHERE coalesce(holding.minor, 0) <> coalesce(
    (SELECT held_minor FROM held WHERE account = number ORDER BY sequence DESC LIMIT 1), 0)
LIMIT 1
"""

# SQLite has no checksums: what balances must satisfy is asked before they are believed.
CONTRADICTIONS: Final = {
    _CONTRADICTED_ACCOUNT: "the balance of account {} does not agree with its newest entry",
    _UNBALANCED_CURRENCY: "the balances in {} do not agree with what came from and went to others",
    _CONTRADICTED_UNFINISHED: "the steps of transfer {} do not agree with what is unfinished",
    _CONTRADICTED_HOLDS: "what account {} holds does not agree with its unfinished transfers",
}
"""Each finds a row of a store that contradicts itself, and what that says."""
