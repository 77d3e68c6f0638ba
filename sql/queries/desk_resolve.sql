-- name: resolve_delivery :one
-- What somebody found out about a message of unknown outcome.
--   $1 enrollment  int8
--   $2 seq         int4
--   $3 state       int2, 1 accepted or 2 failed
--   $4 reason      text, why it failed
-- locks: its step_log row
UPDATE dripd.step_log AS l
SET state = $3::int2, reason = CASE WHEN $3::int2 = 2 THEN $4::text END
FROM dripd.run AS r
JOIN dripd.campaign_version AS v ON v.account_id = r.account_id AND v.id = r.cv_id
WHERE r.id = $1::int8
    AND l.account_id = r.account_id
    AND l.enrollment_id = r.id
    AND l.seq = $2::int4
    AND l.state = 3
    AND l.channel > 0
RETURNING l.account_id, l.leased_at,
    l.channel = 1 AND coalesce(v.definition #>> '{policy,cap}', 'plan') = 'plan' AS counted;

-- name: is_tried_again :one
-- Is the message of unknown outcome being sent again at this moment? A lease that is about to is waited for, and a
-- later one passes it over until we are done.
--   $1 enrollment  int8
--   $2 seq         int4
-- locks: its due_step row
WITH held AS MATERIALIZED (
    SELECT d.claim_id
    FROM dripd.run AS r
    JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
    WHERE r.id = $1::int8
        AND d.seq = $2::int4
        AND d.flags & 2 <> 0
    FOR UPDATE OF d
)
SELECT coalesce(bool_or(claim_id IS NOT NULL), false) AS tried
FROM held;

-- name: resolve_individual :one
--   $1 id  $2 state  $3 why it failed
UPDATE dripd.individual_send AS i
SET state = $2::text,
    reason = CASE WHEN $2::text = 'failed' THEN $3::text END,
    accepted_at = CASE WHEN $2::text = 'accepted' THEN coalesce(i.sent_at, i.leased_at) END
WHERE i.id = $1::int8
    AND i.state = 'unknown'
RETURNING i.account_id;

-- name: free_cap :exec
-- A message that never left gives its place in the day of its lease back.
--   $1 account  $2 leased at
-- locks: the account's day
UPDATE dripd.account_day
SET used = greatest(used - 1, 0)
WHERE account_id = $1::int4
    AND starts_at <= $2::timestamptz
    AND ends_at > $2::timestamptz;

-- name: refund_failed :exec
-- What a message cost that never left: its own charge, and where its run is over, its part of that.
--   $1 account  $2 enrollment  $3 delivery
WITH own AS (
    INSERT INTO dripd.ledger (account_id, kind, amount, enrollment_id, step_key, delivery_id)
    SELECT l.account_id, 'refund', l.amount, l.enrollment_id, l.step_key, l.delivery_id
    FROM dripd.ledger AS l
    WHERE l.account_id = $1::int4
        AND l.enrollment_id = $2::int8
        AND l.kind = 'charge'
        AND l.delivery_id = $3::text
    ON CONFLICT DO NOTHING
)
SELECT dripd.refund_unsent($1::int4, $2::int8);
