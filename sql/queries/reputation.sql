-- name: mark_senders :exec
-- Bounces and complaints, beside the senders of the messages that they are about.
--   $1 account int  $2 events bigint[]  $3 kinds text[]  $4 enrollments bigint[]  $5 seqs int[]
INSERT INTO dripd.sender_mark (account_id, sender_id, event_id, at, kind)
SELECT $1::int4, l.sender_id, k.event, (SELECT dripd.now()), k.kind
FROM unnest($2::int8[], $3::text[], $4::int8[], $5::int4[]) AS k (event, kind, enrollment, seq)
CROSS JOIN LATERAL (
    SELECT s.sender_id
    FROM dripd.step_log AS s
    WHERE s.account_id = $1::int4
        AND s.enrollment_id = k.enrollment
        AND s.seq = k.seq
        AND s.sender_id IS NOT NULL
    ORDER BY s.at DESC
    LIMIT 1
) AS l
ON CONFLICT (account_id, sender_id, event_id) DO NOTHING;

-- name: forget_marks :exec
--   $1 account int  $2 window bigint, ms
DELETE FROM dripd.sender_mark
WHERE account_id = $1::int4
    AND at < (SELECT dripd.now()) - $2::int8 * interval '1 ms';

-- name: read_marks :many
-- What came back of the active senders of an account, within the window and since they were resumed.
--   $1 account int  $2 window bigint, ms  $3 sender int, NULL = all that are active
SELECT s.id, s.address, s.owner, w.since,
    count(*) FILTER (WHERE m.kind = 'bounce')::int4 AS bounced,
    count(*) FILTER (WHERE m.kind = 'complaint')::int4 AS complained
FROM dripd.sender AS s
CROSS JOIN LATERAL (
    SELECT greatest((SELECT dripd.now()) - $2::int8 * interval '1 ms', s.judged_from) AS since
) AS w
LEFT JOIN dripd.sender_mark AS m ON m.account_id = s.account_id
    AND m.sender_id = s.id
    AND m.at > w.since
WHERE s.account_id = $1::int4
    AND CASE WHEN $3::int4 IS NULL THEN s.status = 'active' ELSE s.id = $3::int4 END
GROUP BY s.id, s.address, s.owner, w.since
ORDER BY s.id;

-- name: stop_sender :one
-- The journal has why, a notification tells the owner, and every daemon looks again.
--   $1 account int  $2 sender int  $3 reason text  $4 figures text, jsonb
WITH stopped AS (
    UPDATE dripd.sender
    SET status = 'paused',
        pause_reason = $3::text
    WHERE account_id = $1::int4
        AND id = $2::int4
        AND status = 'active'
    RETURNING id, owner, address
), noted AS (
    INSERT INTO dripd.journal_log (account_id, kind, detail)
    SELECT $1::int4, 'paused', jsonb_build_object('what', 'sender', 'sender_id', id, 'reason', $3::text) || $4::jsonb
    FROM stopped
), told AS (
    INSERT INTO dripd.notification (account_id, kind, recipient, payload)
    SELECT $1::int4, 'paused', owner, jsonb_build_object('sender', address, 'reason', $3::text) || $4::jsonb
    FROM stopped
), nudged AS (
    INSERT INTO dripd.nudge (account_id)
    SELECT $1::int4
    FROM stopped
)
SELECT id
FROM stopped;

-- name: stop_account :one
-- All its senders together are over the rate, though none by itself.
--   $1 account int  $2 reason text  $3 figures text, jsonb
WITH stopped AS (
    UPDATE dripd.account
    SET status = 'paused'
    WHERE id = $1::int4
        AND status = 'active'
    RETURNING id
), noted AS (
    INSERT INTO dripd.journal_log (account_id, kind, detail)
    SELECT id, 'paused', jsonb_build_object('what', 'account', 'reason', $2::text) || $3::jsonb
    FROM stopped
), told AS (
    INSERT INTO dripd.notification (account_id, kind, payload)
    SELECT id, 'paused', jsonb_build_object('reason', $2::text) || $3::jsonb
    FROM stopped
), nudged AS (
    INSERT INTO dripd.nudge (account_id)
    SELECT id
    FROM stopped
)
SELECT id
FROM stopped;
