"""The first tables.

As in SQLite (store_sqlite_schema), for all partitions together. Names and credits need no tables
of their own here: they are indexes of the rows, and nothing follows behind the cursor.
"""

from typing import Final

from alembic import op

revision = "1"
down_revision = None

_TABLES: Final = """
CREATE TABLE accounts (
    partition integer NOT NULL,
    number bigint NOT NULL,
    account_id text COLLATE "C" NOT NULL,
    currency text COLLATE "C" NOT NULL,
    overdraft_limit_minor bigint NOT NULL,
    opened_sequence bigint NOT NULL,
    opened_at_ms bigint NOT NULL,
    posted_minor bigint NOT NULL,
    newest_sequence bigint NOT NULL,
    entry_count bigint NOT NULL,
    PRIMARY KEY (partition, number),
    UNIQUE (partition, account_id)
) WITH (fillfactor = 80);

CREATE TABLE transfers (
    partition integer NOT NULL,
    sequence bigint NOT NULL,
    at_ms bigint NOT NULL,
    payer bigint NOT NULL,
    payee bigint NOT NULL,
    transaction_id text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    payer_balance_minor bigint NOT NULL,
    payee_balance_minor bigint NOT NULL,
    payer_previous bigint NOT NULL,
    payee_previous bigint NOT NULL,
    PRIMARY KEY (partition, sequence)
);
CREATE UNIQUE INDEX transfer_names ON transfers (partition, payer, transaction_id);

CREATE TABLE steps (
    partition integer NOT NULL,
    sequence bigint NOT NULL,
    at_ms bigint NOT NULL,
    kind smallint NOT NULL,
    step smallint NOT NULL,
    reason smallint NOT NULL,
    coordination smallint NOT NULL,
    account bigint NOT NULL,
    unopened_id text COLLATE "C" NOT NULL,
    counterparty_id text COLLATE "C" NOT NULL,
    transaction_id text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    moved_minor bigint NOT NULL,
    balance_minor bigint NOT NULL,
    previous_entry bigint NOT NULL,
    previous_step bigint NOT NULL,
    PRIMARY KEY (partition, sequence)
);
CREATE UNIQUE INDEX outcome_names ON steps (partition, account, transaction_id) WHERE kind = 2;
CREATE INDEX credits ON steps (partition, counterparty_id, transaction_id, sequence) WHERE kind = 3;

CREATE TABLE rejections (
    partition integer NOT NULL,
    sequence bigint NOT NULL,
    at_ms bigint NOT NULL,
    payer_id text COLLATE "C" NOT NULL,
    payee_id text COLLATE "C" NOT NULL,
    transaction_id text COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    reason smallint NOT NULL,
    balance_minor bigint NOT NULL,
    PRIMARY KEY (partition, sequence),
    UNIQUE (partition, payer_id, transaction_id)
);

CREATE TABLE held (
    partition integer NOT NULL,
    account bigint NOT NULL,
    sequence bigint NOT NULL,
    held_minor bigint NOT NULL,
    PRIMARY KEY (partition, account, sequence)
);

CREATE TABLE unfinished (
    partition integer NOT NULL,
    started_sequence bigint NOT NULL,
    newest_sequence bigint NOT NULL,
    PRIMARY KEY (partition, started_sequence)
);

CREATE TABLE inflow (
    partition integer NOT NULL,
    currency text COLLATE "C" NOT NULL,
    minor numeric NOT NULL,
    PRIMARY KEY (partition, currency)
);

CREATE TABLE marks (
    partition integer NOT NULL,
    account bigint NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (partition, account, sequence)
);

CREATE TABLE moments (
    partition integer NOT NULL,
    first_sequence bigint NOT NULL,
    at_ms bigint NOT NULL,
    PRIMARY KEY (partition, first_sequence),
    UNIQUE (partition, at_ms)
);

CREATE TABLE cursors (
    partition integer PRIMARY KEY,
    sequence bigint NOT NULL,
    hash bytea NOT NULL,
    epoch bigint NOT NULL,
    at_ms bigint NOT NULL,
    stream_sequence bigint NOT NULL
);
"""


def upgrade() -> None:
    """Make the tables in the schema that comes first on the search path."""
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
