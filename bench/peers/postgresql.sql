-- The PostgreSQL peer: a double-entry wallet whose transfer is one call of one function.
--
-- There are no foreign keys and no CHECK constraints: the function is the only writer, it has both
-- accounts locked before it writes about them, and it checks the limit itself. Each of them would
-- cost the server time per row to find the same once more.

CREATE TABLE accounts (
    account_id      text    PRIMARY KEY,
    currency        text    NOT NULL,
    overdraft_minor bigint  NOT NULL,
    balance_minor   bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 50); -- room for heap-only updates: a new balance touches no index

CREATE TABLE transfers (
    sequence        bigint      GENERATED ALWAYS AS IDENTITY,
    from_account_id text        NOT NULL,
    transaction_id  text        NOT NULL,
    to_account_id   text        NOT NULL,
    amount_minor    bigint      NOT NULL,
    currency        text        NOT NULL,
    completed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (from_account_id, transaction_id)
);

CREATE TABLE entries (
    account_id    text   NOT NULL,
    sequence      bigint NOT NULL, -- of the transfer
    amount_minor  bigint NOT NULL, -- negative for the payer
    balance_minor bigint NOT NULL, -- after this entry
    PRIMARY KEY (account_id, sequence)
);

-- The first answer again, or a conflict when the same name comes with other content.
CREATE FUNCTION answer_again(
    payer text, payee text, wanted_minor bigint, wanted_currency text, transaction text,
    OUT code text, OUT balance bigint, OUT seq bigint, OUT at timestamptz
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT CASE
               WHEN t.to_account_id = payee AND t.amount_minor = wanted_minor
                   AND t.currency = wanted_currency THEN 'replayed'
               ELSE 'idempotency_conflict'
           END, e.balance_minor, t.sequence, t.completed_at
      INTO code, balance, seq, at
      FROM transfers t
      JOIN entries e ON e.account_id = t.from_account_id AND e.sequence = t.sequence
     WHERE t.from_account_id = payer AND t.transaction_id = transaction;
END $$;

-- Tells which refusal it is, once a transfer could not be made.
CREATE FUNCTION refusal(payer text, payee text, wanted_currency text)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
               WHEN count(*) < 2 THEN 'account_not_found'
               WHEN bool_or(currency <> wanted_currency) THEN 'currency_mismatch'
               ELSE 'insufficient_funds'
           END
      FROM accounts WHERE account_id IN (payer, payee)
$$;

-- Moves money once per (payer, transaction). `code` is 'completed', 'replayed' or a refusal.
-- A refusal raises inside, which undoes the inserted transfer, and is not remembered.
CREATE FUNCTION transfer(
    payer text, payee text, wanted_minor bigint, wanted_currency text, transaction text,
    OUT code text, OUT balance bigint, OUT seq bigint, OUT at timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
    payee_balance bigint;
BEGIN
    INSERT INTO transfers (from_account_id, transaction_id, to_account_id, amount_minor, currency)
    VALUES (payer, transaction, payee, wanted_minor, wanted_currency)
    ON CONFLICT DO NOTHING
    RETURNING sequence, completed_at INTO seq, at;
    IF NOT FOUND THEN
        SELECT * INTO code, balance, seq, at
          FROM answer_again(payer, payee, wanted_minor, wanted_currency, transaction);
        RETURN;
    END IF;
    -- Both accounts are locked in the order of their ids, so two transfers never wait in a ring.
    IF payer < payee THEN
        UPDATE accounts SET balance_minor = balance_minor - wanted_minor
         WHERE account_id = payer AND currency = wanted_currency
           AND balance_minor - wanted_minor >= -overdraft_minor
        RETURNING balance_minor INTO balance;
    END IF;
    UPDATE accounts SET balance_minor = balance_minor + wanted_minor
     WHERE account_id = payee AND currency = wanted_currency
    RETURNING balance_minor INTO payee_balance;
    IF payer > payee THEN
        UPDATE accounts SET balance_minor = balance_minor - wanted_minor
         WHERE account_id = payer AND currency = wanted_currency
           AND balance_minor - wanted_minor >= -overdraft_minor
        RETURNING balance_minor INTO balance;
    END IF;
    IF balance IS NULL OR payee_balance IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'WA001', MESSAGE = refusal(payer, payee, wanted_currency);
    END IF;
    INSERT INTO entries (account_id, sequence, amount_minor, balance_minor)
    VALUES (payer, seq, -wanted_minor, balance), (payee, seq, wanted_minor, payee_balance);
    code := 'completed';
END $$;
