-- name: withdraw_requests :exec
-- Requests are rejected before their turn has come; their idempotency keys have been seen.
--   $1 requests bigint[]  $2 actor text
WITH gone AS (
    UPDATE dripd.enroll_request AS q
    SET status = 'rejected', reject_reason = 'stopped', decided_at = (SELECT dripd.now())
    WHERE q.id = ANY ($1::int8[]) AND q.status = 'pending'
    RETURNING q.id, q.account_id, q.queued_for, q.campaign_key, q.idempotency_key
), told AS (
    INSERT INTO dripd.journal_log (actor, kind, account_id, contact_id, detail)
    SELECT $2::text, 'rejected', account_id, queued_for,
        jsonb_build_object('request_id', id, 'reason', 'stopped', 'campaign', campaign_key)
    FROM gone
)
INSERT INTO dripd.request_seen (account_id, key_h, request_id)
SELECT account_id, hashtextextended(idempotency_key, 0), id
FROM gone
WHERE idempotency_key <> ''
ON CONFLICT DO NOTHING;

-- name: versions_of :many
-- The versions of runs.
--   $1 enrollments  int8[]
SELECT DISTINCT cv_id
FROM dripd.run
WHERE id = ANY ($1::int8[]);

-- name: account_key :one
--   $1 account  int4
SELECT key
FROM dripd.account
WHERE id = $1::int4;

-- name: lock_due :many
-- The due steps of runs; a lease passes them over, a record in flight is waited for.
--   $1 accounts     int4[]
--   $2 enrollments  int8[], beside them
-- locks: due_step rows, in the order of their key
SELECT d.enrollment_id, d.claim_id IS NOT NULL AS leased
FROM dripd.due_step AS d
JOIN unnest($1::int4[], $2::int8[]) AS k (a, e) ON d.account_id = k.a AND d.enrollment_id = k.e
ORDER BY d.account_id, d.lane, d.due_at, d.enrollment_id
FOR UPDATE OF d;

-- name: lock_standing :one
-- How a run stands; its waiting step stays where it is until we are done.
--   $1 enrollment  int8
-- locks: its due_step row
WITH held AS MATERIALIZED (
    SELECT d.enrollment_id
    FROM dripd.run AS r
    JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
    WHERE r.id = $1::int8
    FOR UPDATE OF d
)
SELECT e.status, e.step_key, e.run_no
FROM dripd.enrollment AS e
WHERE e.id = $1::int8
    AND (SELECT count(*) FROM held) >= 0;

-- name: note_runs :exec
-- A line of the journal for each run.
--   $1 actor  $2 kind  $3 detail  $4 accounts  $5 enrollments  $6 contacts
INSERT INTO dripd.journal_log (actor, kind, detail, account_id, enrollment_id, contact_id)
SELECT $1::text, $2::text, $3::jsonb, a, e, c
FROM unnest($4::int4[], $5::int8[], $6::int8[]) AS k (a, e, c);

-- name: finish_draining :exec
-- A draining campaign without a live run is inactive.
--   $1 campaigns  int4[]
UPDATE dripd.campaign AS c
SET status = 'inactive'
WHERE c.id = ANY ($1::int4[])
    AND c.status = 'draining'
    AND NOT EXISTS (
        SELECT FROM dripd.run AS r
        WHERE r.account_id = c.account_id AND r.campaign_id = c.id AND r.status = 1);

-- name: reset_pairs :many
-- The runs of these contacts in these campaigns no longer count as runs.
--   $1 accounts   int4[]
--   $2 contacts   int8[]
--   $3 campaigns  int4[]
UPDATE dripd.run AS r
SET reset_at = (SELECT dripd.now()),
    reentry = NULL
FROM unnest($1::int4[], $2::int8[], $3::int4[]) AS k (a, contact, campaign)
WHERE r.account_id = k.a
    AND r.contact_id = k.contact
    AND r.campaign_id = k.campaign
    AND r.reset_at IS NULL
    AND r.status > 1
RETURNING r.account_id, r.id, r.contact_id;

-- name: void_stats :many
-- The runs of these contacts in these campaigns leave the statistics; nothing else changes.
--   $1 accounts   int4[]
--   $2 contacts   int8[]
--   $3 campaigns  int4[]
UPDATE dripd.run AS r
SET stats_void = true
FROM unnest($1::int4[], $2::int8[], $3::int4[]) AS k (a, contact, campaign)
WHERE r.account_id = k.a
    AND r.contact_id = k.contact
    AND r.campaign_id = k.campaign
    AND NOT r.stats_void
RETURNING r.account_id, r.id, r.contact_id;

-- name: request_moves :exec
-- Ask for a run in another campaign of those whose run has just ended.
--   $1 account      int4
--   $2 campaign     text
--   $3 enrollments  int8[]
--   $4 actor        text
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id, source, requested_by,
    conversation_ref, vars)
SELECT r.account_id, $2::text, r.contact_id, 'move', $4::text, r.conversation_ref, r.vars
FROM dripd.run AS r
WHERE r.account_id = $1::int4
    AND r.id = ANY ($3::int8[])
ORDER BY r.id;

-- name: lock_waiting :many
-- The steps of runs that wait, not leased, with the facts that say where they belong.
--   $1 accounts     int4[]
--   $2 enrollments  int8[], beside them
-- locks: due_step rows, in the order of their key
SELECT d.account_id, d.lane, d.due_at, d.enrollment_id, d.contact_id, d.cv_id, d.seq, d.step_no,
    d.run_no, d.attempt, d.flags, r.started_at, r.hold_reason, r.vars, c.email, c.phone,
    c.timezone, c.attrs, c.owner, c.service_owner, c.external_id,
    ((SELECT dripd.now()) AT TIME ZONE a.timezone)::date AS local_date
FROM dripd.due_step AS d
JOIN unnest($1::int4[], $2::int8[]) AS k (a, e) ON d.account_id = k.a AND d.enrollment_id = k.e
JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id
JOIN dripd.contact AS c ON c.account_id = d.account_id AND c.id = d.contact_id
JOIN dripd.account AS a ON a.id = d.account_id
WHERE d.claim_id IS NULL
    AND r.status = 1
ORDER BY d.account_id, d.lane, d.due_at, d.enrollment_id
FOR UPDATE OF d;

-- name: release_step :exec
-- A waiting step is due now, with a fresh count of attempts; its hold is over.
--   $1 account     int4
--   $2 enrollment  int8
--   $3 lane        int2
--   $4 due         timestamptz
WITH moved AS (
    UPDATE dripd.due_step
    SET lane = $3::int2,
        due_at = $4::timestamptz,
        attempt = 0,
        flags = flags & ~1024::int2  -- not put off: it comes due anew
    WHERE account_id = $1::int4
        AND enrollment_id = $2::int8
        AND claim_id IS NULL
    RETURNING account_id, enrollment_id
), told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT r.account_id, r.id, r.contact_id, 'released', jsonb_build_object('reason', r.hold_reason, 'seq', d.seq)
    FROM moved AS m
    JOIN dripd.run AS r ON r.account_id = m.account_id AND r.id = m.enrollment_id
    JOIN dripd.due_step AS d ON d.account_id = m.account_id AND d.enrollment_id = m.enrollment_id  -- as it stood
    WHERE r.hold_reason IS NOT NULL AND d.flags & 32 = 0
)
UPDATE dripd.run AS r
SET hold_reason = NULL,
    release_at = NULL
FROM moved
WHERE r.account_id = moved.account_id
    AND r.id = moved.enrollment_id
    AND r.hold_reason IS NOT NULL;

-- name: look_again :exec
-- Let every daemon look again at these accounts.
--   $1 accounts  int4[]
INSERT INTO dripd.nudge (account_id)
SELECT unnest($1::int4[]);

-- name: log_skip :exec
-- A step that an operator had skipped.
--   $1 account  $2 enrollment  $3 version  $4 run  $5 seq  $6 step  $7 channel  $8 state
--   $9 at  $10 reason
INSERT INTO dripd.step_log (enrollment_id, claim_id, leased_at, at, account_id, cv_id, seq,
    step_no, run_no, channel, state, attempt, reason)
VALUES ($2::int8, 0, $9::timestamptz, $9::timestamptz, $1::int4, $3::int4, $5::int4, $6::int2,
    $4::int2, $7::int2, $8::int2, 0, $10::text);

-- name: put_next_step :exec
-- The run goes on to another step.
--   $1 account  $2 enrollment  $3 lane  $4 due  $5 step  $6 seq
WITH moved AS (
    UPDATE dripd.due_step
    SET lane = $3::int2,
        due_at = $4::timestamptz,
        step_no = $5::int2,
        seq = $6::int4,
        attempt = 0,
        flags = flags & 1
    WHERE account_id = $1::int4
        AND enrollment_id = $2::int8
        AND claim_id IS NULL
    RETURNING account_id, enrollment_id
), told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT r.account_id, r.id, r.contact_id, 'released', jsonb_build_object('reason', r.hold_reason, 'seq', d.seq)
    FROM moved AS m
    JOIN dripd.run AS r ON r.account_id = m.account_id AND r.id = m.enrollment_id
    JOIN dripd.due_step AS d ON d.account_id = m.account_id AND d.enrollment_id = m.enrollment_id  -- as it stood
    WHERE r.hold_reason IS NOT NULL AND d.flags & 32 = 0
)
UPDATE dripd.run AS r
SET hold_reason = NULL,
    release_at = NULL
FROM moved
WHERE r.account_id = moved.account_id
    AND r.id = moved.enrollment_id
    AND r.hold_reason IS NOT NULL;
