"""The statements that fill, read and doubt the tables (which migrations/versions makes).

Rows hold the fields of reader.core.rows in their order, behind the partition.
"""

from typing import Final

ACCOUNTS: Final = "accounts"
TRANSFERS: Final = "transfers"
STEPS: Final = "steps"
REJECTIONS: Final = "rejections"
HELD: Final = "held"
MARKS: Final = "marks"
MOMENTS: Final = "moments"

TRANSFER_COLUMNS: Final = (
    "sequence, at_ms, payer, payee, transaction_id, amount_minor, "
    "payer_balance_minor, payee_balance_minor, payer_previous, payee_previous"
)
STEP_COLUMNS: Final = (
    "sequence, at_ms, kind, step, reason, coordination, account, unopened_id, counterparty_id, "
    "transaction_id, amount_minor, moved_minor, balance_minor, previous_entry, previous_step"
)
REJECTION_COLUMNS: Final = (
    "sequence, at_ms, payer_id, payee_id, transaction_id, amount_minor, currency, reason, "
    "balance_minor"
)
ACCOUNT_COLUMNS: Final = (
    "number, account_id, currency, overdraft_limit_minor, opened_sequence, opened_at_ms, "
    "posted_minor, newest_sequence, entry_count"
)

BEGIN_CURSOR: Final = (
    "INSERT INTO cursors VALUES (%s, %s, %s, %s, %s, 0) ON CONFLICT (partition) DO NOTHING"
)
CURSOR: Final = (
    "SELECT sequence, hash, epoch, at_ms, stream_sequence FROM cursors WHERE partition = %s"
)
LOCK_CURSOR: Final = f"{CURSOR} FOR UPDATE"
MOVE_CURSOR: Final = (
    "UPDATE cursors SET sequence = %s, hash = %s, epoch = %s, at_ms = %s, stream_sequence = %s "
    "WHERE partition = %s"
)

MOVE_ACCOUNTS: Final = """
UPDATE accounts SET
    posted_minor = touched.posted_minor,
    newest_sequence = touched.newest_sequence,
    entry_count = entry_count + touched.entries
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS touched (number, posted_minor, newest_sequence, entries)
WHERE accounts.partition = %s AND accounts.number = touched.number
"""
ADD_INFLOW: Final = """
INSERT INTO inflow SELECT partition, currency, sum(minor)
FROM unnest(%s::bigint[], %s::numeric[]) AS moved (account, minor)
JOIN accounts ON partition = %s AND number = account
GROUP BY partition, currency
ON CONFLICT (partition, currency) DO UPDATE SET minor = inflow.minor + excluded.minor
"""
PUT_UNFINISHED: Final = """
INSERT INTO unfinished SELECT %s, started, newest
FROM unnest(%s::bigint[], %s::bigint[]) AS going (started, newest)
ON CONFLICT (partition, started_sequence) DO UPDATE SET newest_sequence = excluded.newest_sequence
"""
END_UNFINISHED: Final = (
    "DELETE FROM unfinished WHERE partition = %s AND started_sequence = ANY(%s::bigint[])"
)

NEWEST_TIME: Final = "SELECT max(at_ms) FROM moments WHERE partition = %s"
ALL_ACCOUNTS: Final = f"SELECT {ACCOUNT_COLUMNS} FROM accounts WHERE partition = %s ORDER BY number"  # noqa: S608  # our own names
UNFINISHED: Final = """
SELECT start.*, newest.* FROM unfinished
JOIN steps AS start
    ON start.partition = unfinished.partition AND start.sequence = started_sequence
JOIN steps AS newest
    ON newest.partition = unfinished.partition AND newest.sequence = newest_sequence
WHERE unfinished.partition = %s ORDER BY started_sequence
"""

CHAIN: Final = """
WITH RECURSIVE chain (place, sequence) AS (
    SELECT 1, %(newest)s::bigint
    UNION ALL
    SELECT place + 1, previous FROM chain, LATERAL (
        SELECT CASE WHEN payer = %(account)s THEN payer_previous ELSE payee_previous END
        FROM transfers WHERE partition = %(partition)s AND transfers.sequence = chain.sequence
        UNION ALL
        SELECT previous_entry
        FROM steps WHERE partition = %(partition)s AND steps.sequence = chain.sequence
    ) AS entry (previous)
    WHERE place < %(count)s AND previous > 0
)
SELECT sequence FROM chain ORDER BY place
"""
"""Sequences of an account's entries from one back, newest first."""

_CONTRADICTED_ACCOUNT: Final = """
SELECT account_id FROM accounts
LEFT JOIN transfers
    ON transfers.partition = accounts.partition AND transfers.sequence = newest_sequence
LEFT JOIN steps ON steps.partition = accounts.partition AND steps.sequence = newest_sequence
WHERE accounts.partition = %(partition)s AND posted_minor IS DISTINCT FROM CASE
    WHEN newest_sequence = 0 THEN 0
    WHEN payer = number THEN payer_balance_minor
    WHEN payee = number THEN payee_balance_minor
    WHEN account = number AND moved_minor <> 0 THEN balance_minor END
LIMIT 1
"""
_UNBALANCED_CURRENCY: Final = """
SELECT currency FROM accounts LEFT JOIN inflow USING (partition, currency)
WHERE partition = %(partition)s GROUP BY currency
HAVING sum(posted_minor) <> coalesce(max(minor), 0)
LIMIT 1
"""
_CONTRADICTED_UNFINISHED: Final = """
SELECT started_sequence FROM unfinished
LEFT JOIN steps AS start
    ON start.partition = unfinished.partition AND start.sequence = started_sequence
LEFT JOIN steps AS newest
    ON newest.partition = unfinished.partition AND newest.sequence = newest_sequence
WHERE unfinished.partition = %(partition)s AND (
    start.kind IS DISTINCT FROM 0                 -- START
    OR coalesce(newest.kind, -1) NOT IN (0, 1)    -- START, DEBIT
    OR (newest.account, newest.transaction_id) <> (start.account, start.transaction_id))
LIMIT 1
"""
_CONTRADICTED_HOLDS: Final = """
WITH holding AS (
    SELECT account AS number, sum(amount_minor) AS minor FROM unfinished
    JOIN steps ON steps.partition = unfinished.partition AND sequence = newest_sequence
    WHERE unfinished.partition = %(partition)s AND step = 11    -- TRY_DEBIT
    GROUP BY account
), newest AS (
    SELECT DISTINCT ON (account) account AS number, held_minor FROM held
    WHERE partition = %(partition)s ORDER BY account, sequence DESC
)
SELECT account_id FROM accounts
LEFT JOIN holding USING (number) LEFT JOIN newest USING (number)
WHERE partition = %(partition)s AND coalesce(minor, 0) <> coalesce(held_minor, 0)
LIMIT 1
"""

CONTRADICTIONS: Final = {
    _CONTRADICTED_ACCOUNT: "the balance of account {} does not agree with its newest entry",
    _UNBALANCED_CURRENCY: "the balances in {} do not agree with what came from and went to others",
    _CONTRADICTED_UNFINISHED: "the steps of transfer {} do not agree with what is unfinished",
    _CONTRADICTED_HOLDS: "what account {} holds does not agree with its unfinished transfers",
}
"""Each finds a row of a partition that contradicts the others, and what that says. Not every
server keeps checksums, and anybody with the password can change a row."""
