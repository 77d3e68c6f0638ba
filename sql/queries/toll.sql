-- name: keep_claimed :many
-- Those of these steps that are still under the claim that asks. None of them ends before what they are granted is
-- written: who ends it gives back what it was charged.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 claims bigint[]
-- locks: due_step rows, for key share, by full key
SELECT d.enrollment_id
FROM unnest($1::int4[], $2::int8[], $3::int8[]) AS k (a, e, c)
JOIN dripd.due_step AS d ON d.account_id = k.a AND d.enrollment_id = k.e AND d.claim_id = k.c
ORDER BY d.account_id, d.lane, d.due_at, d.enrollment_id
FOR KEY SHARE OF d;

-- name: read_charged :many
-- Deliveries that have been charged already.
--   $1 accounts int[]  $2 deliveries text[]
SELECT l.delivery_id
FROM unnest($1::int4[], $2::text[]) AS k (a, d)
JOIN dripd.ledger AS l ON l.account_id = k.a AND l.delivery_id = k.d AND l.kind = 'charge';

-- name: charge_sends :exec
-- Messages that are about to leave; the balances follow by themselves.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 step keys text[]  $4 deliveries text[]  $5 amounts numeric[]
INSERT INTO dripd.ledger (account_id, kind, amount, enrollment_id, step_key, delivery_id)
SELECT a, 'charge', amount, e, key, delivery
FROM unnest($1::int4[], $2::int8[], $3::text[], $4::text[], $5::numeric[]) AS k (a, e, key, delivery, amount);

-- name: lock_meters :exec
-- Those who ask for actions of an account take turns.
--   $1 kind text  $2 accounts int[]  $3 periods text[]  sorted
-- locks: meter rows, sorted
INSERT INTO dripd.meter AS m (account_id, kind, period)
SELECT a, $1::text, p FROM unnest($2::int4[], $3::text[]) AS k (a, p) ORDER BY a, p
ON CONFLICT (account_id, kind, period) DO UPDATE SET n = m.n;

-- name: read_meters :many
-- What accounts have used of their quota, with what is held by steps in flight; under lock_meters.
--   $1 kind text  $2 accounts int[]  $3 periods text[]
SELECT m.account_id, m.period, m.n + (
    SELECT count(*) FROM dripd.meter_hold AS h
    JOIN dripd.claim AS c ON c.claim_id = h.claim_id
    WHERE h.account_id = m.account_id AND h.period = m.period) AS n
FROM unnest($2::int4[], $3::text[]) AS k (a, p)
JOIN dripd.meter AS m ON m.account_id = k.a AND m.kind = $1::text AND m.period = k.p;

-- name: read_held_actions :many
-- Steps that hold an action already: asked again after a lost answer.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 claims bigint[]
SELECT h.enrollment_id
FROM unnest($1::int4[], $2::int8[], $3::int8[]) AS k (a, e, c)
JOIN dripd.meter_hold AS h ON h.account_id = k.a AND h.enrollment_id = k.e AND h.claim_id = k.c;

-- name: hold_actions :exec
-- Actions that are about to be performed; a hold dies with its claim.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 claims bigint[]  $4 periods text[]
INSERT INTO dripd.meter_hold AS h (account_id, enrollment_id, claim_id, period)
SELECT a, e, c, p FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::text[]) AS k (a, e, c, p)
ON CONFLICT (account_id, enrollment_id) DO UPDATE SET claim_id = excluded.claim_id, period = excluded.period;
