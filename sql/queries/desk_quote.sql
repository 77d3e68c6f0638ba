-- name: ask_for_quote :one
-- A request that is read and deleted in this transaction: no other sees it.
--   $1 account  $2 campaign key  $3 contact
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id, source)
VALUES ($1::int4, $2::text, $3::int8, 'quote')
RETURNING id;

-- name: forget_asked :exec
--   $1 request  int8
DELETE FROM dripd.enroll_request
WHERE id = $1::int8;

-- name: keep_quote :exec
--   $1 account  $2 id  $3 campaign  $4 contact  $5 total
INSERT INTO dripd.quote (account_id, id, campaign_id, contact_id, total)
VALUES ($1::int4, $2::text, $3::int4, $4::int8, $5::numeric);

-- name: deposit :one
-- Money comes in; the balance after it.
--   $1 account  $2 amount
WITH made AS (
    INSERT INTO dripd.ledger (account_id, kind, amount)
    VALUES ($1::int4, 'deposit', $2::numeric)
    RETURNING account_id, amount
)
SELECT coalesce((SELECT p.balance FROM dripd.purse AS p WHERE p.account_id = m.account_id), 0)
    + m.amount AS balance
FROM made AS m;
