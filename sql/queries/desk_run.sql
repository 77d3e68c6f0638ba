-- name: pick_runs :many
-- A chunk of the selected runs, in the order of their ids.
--   $1 after  $2 account  $3 enrollments  $4 contacts  $5 campaigns  $6 lists  $7 tags
--   $8 ended runs too that were not reset  $9 only those that have sent nothing  $10 most
--   $11 ended runs too that the statistics count; NULL = any
SELECT r.account_id, r.id, r.contact_id, r.campaign_id, r.cv_id, r.status,
    c.key AS campaign_key
FROM dripd.run AS r
JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
WHERE r.id > $1::int8
    AND ($2::int4 IS NULL OR r.account_id = $2::int4)
    AND ($3::int8[] IS NULL OR r.id = ANY ($3::int8[]))
    AND ($4::int8[] IS NULL OR r.contact_id = ANY ($4::int8[]))
    AND ($5::int4[] IS NULL OR r.campaign_id = ANY ($5::int4[]))
    AND ($6::int8[] IS NULL OR EXISTS (
        SELECT FROM dripd.list_member AS m
        WHERE m.account_id = r.account_id AND m.contact_id = r.contact_id
            AND m.list_id = ANY ($6::int8[])))
    AND ($7::text[] IS NULL OR EXISTS (
        SELECT FROM dripd.contact_tag AS t
        WHERE t.account_id = r.account_id AND t.contact_id = r.contact_id
            AND t.tag = ANY ($7::text[])))
    AND (r.status = 1 OR $8::boolean AND r.reset_at IS NULL OR $11::boolean AND NOT r.stats_void)
    AND (NOT $9::boolean OR NOT EXISTS (
        SELECT FROM dripd.step_log AS l
        WHERE l.account_id = r.account_id AND l.enrollment_id = r.id
            AND l.channel > 0 AND l.state IN (1, 3)))
    AND (NOT $9::boolean OR NOT EXISTS (
        SELECT FROM dripd.due_step AS d
        WHERE d.account_id = r.account_id AND d.enrollment_id = r.id
            AND d.claim_id IS NOT NULL))
ORDER BY r.id
LIMIT $10::int4;

-- name: lock_queued :many
-- Requests of the selection whose contact is busy elsewhere.
--   $1 account  $2 contacts  $3 campaigns  $4 lists  $5 tags; NULL = any
-- locks: the requests, in the order of their ids
SELECT q.id, q.account_id, q.queued_for AS contact_id, c.id AS campaign_id
FROM dripd.enroll_request AS q
JOIN dripd.campaign AS c ON c.account_id = q.account_id AND c.key = q.campaign_key
WHERE q.status = 'pending'
    AND q.queued_for IS NOT NULL
    AND ($1::int4 IS NULL OR q.account_id = $1::int4)
    AND ($2::int8[] IS NULL OR q.queued_for = ANY ($2::int8[]))
    AND ($3::int4[] IS NULL OR c.id = ANY ($3::int4[]))
    AND ($4::int8[] IS NULL OR EXISTS (
        SELECT FROM dripd.list_member AS m
        WHERE m.account_id = q.account_id AND m.contact_id = q.queued_for AND m.list_id = ANY ($4::int8[])))
    AND ($5::text[] IS NULL OR EXISTS (
        SELECT FROM dripd.contact_tag AS t
        WHERE t.account_id = q.account_id AND t.contact_id = q.queued_for AND t.tag = ANY ($5::text[])))
ORDER BY q.id
FOR UPDATE OF q;

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

-- name: known_runs :many
-- Which of these are runs at all.
--   $1 enrollments  int8[]
SELECT id
FROM dripd.run
WHERE id = ANY ($1::int8[]);

-- name: versions_of :many
-- The versions of runs.
--   $1 enrollments  int8[]
SELECT DISTINCT cv_id
FROM dripd.run
WHERE id = ANY ($1::int8[]);

-- name: read_contact_facts :many
-- What a condition may ask about contacts.
--   $1 contacts  int8[]
SELECT c.id, c.external_id, c.email, c.phone, c.timezone, c.owner, c.service_owner,
    c.company_id, c.attrs,
    ARRAY(
        SELECT t.tag FROM dripd.contact_tag AS t
        WHERE t.account_id = c.account_id AND t.contact_id = c.id
    ) AS tags,
    ARRAY(
        SELECT l.key
        FROM dripd.list_member AS m
        JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
        WHERE m.account_id = c.account_id AND m.contact_id = c.id
    ) AS lists
FROM dripd.contact AS c
WHERE c.id = ANY ($1::int8[]);

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

-- name: list_enrollments :many
-- Enrollments of an account or of all by id: so many runs in their order, each looked at in full
-- until the page is full. Joined the other way round, a page of a million costs the million. The
-- one of the two reads that is not meant is never begun.
--   $1 account  $2 campaign  $3 status in the table  $4 status
--   $5 hold reason, with or without what it names  $6 list  $7 tag  $8 after  $9 most  $10 runs that are looked at
--   $11 step; NULL = any
SELECT e.id, e.account_id, e.campaign_key, e.version, e.contact_id, e.run_no, e.status,
    e.end_reason, e.step_key, e.due_at, e.hold_reason, e.release_at, e.started_at, e.ended_at,
    e.reset_at, e.owner, e.conversation_ref, e.account_key, e.external_id
FROM (
    (SELECT s.account_id, s.id, s.campaign_id, s.contact_id, s.status
        FROM dripd.run AS s
        WHERE $1::int4 IS NULL AND s.id > $8::int8
        ORDER BY s.id
        LIMIT $10::int4)
    UNION ALL
    (SELECT s.account_id, s.id, s.campaign_id, s.contact_id, s.status
        FROM dripd.run AS s
        WHERE $1::int4 IS NOT NULL AND s.account_id = $1::int4 AND s.id > $8::int8
        ORDER BY s.id
        LIMIT $10::int4)
) AS r
CROSS JOIN LATERAL (
    SELECT v.id, v.account_id, v.campaign_key, v.version, v.contact_id, v.run_no, v.status,
        v.end_reason, v.step_key, v.due_at, v.hold_reason, v.release_at, v.started_at,
        v.ended_at, v.reset_at, v.owner, v.conversation_ref, a.key AS account_key, k.external_id
    FROM dripd.enrollment AS v
    JOIN dripd.account AS a ON a.id = v.account_id
    JOIN dripd.contact AS k ON k.account_id = v.account_id AND k.id = v.contact_id
    WHERE v.account_id = r.account_id
        AND v.id = r.id
    OFFSET 0
) AS e
WHERE ($2::int4 IS NULL OR r.campaign_id = $2::int4)
    AND ($3::int2 IS NULL OR r.status = $3::int2)
    AND ($4::text IS NULL OR e.status = $4::text)
    AND ($5::text IS NULL OR r.status = 1
        AND $5::text IN (e.hold_reason, split_part(e.hold_reason, ':', 1)))
    AND ($6::int8 IS NULL OR EXISTS (
        SELECT FROM dripd.list_member AS m
        WHERE m.account_id = r.account_id AND m.contact_id = r.contact_id
            AND m.list_id = $6::int8))
    AND ($7::text IS NULL OR EXISTS (
        SELECT FROM dripd.contact_tag AS t
        WHERE t.account_id = r.account_id AND t.contact_id = r.contact_id
            AND t.tag = $7::text))
    AND ($11::text IS NULL OR e.step_key = $11::text)
ORDER BY r.id
LIMIT $9::int4;

-- name: look_ahead :one
-- How far the listing looked: the last of so many runs, and how many there were.
--   $1 account, NULL = all  $2 after  $3 most
SELECT coalesce(max(id), 0)::int8 AS last, count(*)::int4 AS n
FROM (
    SELECT id FROM dripd.run
    WHERE ($1::int4 IS NULL OR account_id = $1::int4) AND id > $2::int8
    ORDER BY id
    LIMIT $3::int4
) AS looked;

-- name: list_picked :many
-- Enrollments of these ids, in their order.
--   $1 ids  $2 account  $3 campaign  $4 status
--   $5 hold reason, with or without what it names  $6 list  $7 tag; NULL = any
--   $8 only those that are not held by themselves
--   $9 step, NULL = any
SELECT e.id, e.account_id, e.campaign_key, e.version, e.contact_id, e.run_no, e.status,
    e.end_reason, e.step_key, e.due_at, e.hold_reason, e.release_at, e.started_at, e.ended_at,
    e.reset_at, e.owner, e.conversation_ref, e.account_key, e.external_id
FROM unnest($1::int8[]) WITH ORDINALITY AS p (id, n)
JOIN dripd.run AS r ON r.id = p.id
CROSS JOIN LATERAL (
    SELECT v.id, v.account_id, v.campaign_key, v.version, v.contact_id, v.run_no, v.status,
        v.end_reason, v.step_key, v.due_at, v.hold_reason, v.release_at, v.started_at,
        v.ended_at, v.reset_at, v.owner, v.conversation_ref, a.key AS account_key, k.external_id
    FROM dripd.enrollment AS v
    JOIN dripd.account AS a ON a.id = v.account_id
    JOIN dripd.contact AS k ON k.account_id = v.account_id AND k.id = v.contact_id
    WHERE v.account_id = r.account_id
        AND v.id = r.id
    OFFSET 0
) AS e
WHERE ($2::int4 IS NULL OR r.account_id = $2::int4)
    AND ($3::int4 IS NULL OR r.campaign_id = $3::int4)
    AND ($4::text IS NULL OR e.status = $4::text)
    AND ($5::text IS NULL OR r.status = 1
        AND $5::text IN (e.hold_reason, split_part(e.hold_reason, ':', 1)))
    AND ($6::int8 IS NULL OR EXISTS (
        SELECT FROM dripd.list_member AS m
        WHERE m.account_id = r.account_id AND m.contact_id = r.contact_id
            AND m.list_id = $6::int8))
    AND ($7::text IS NULL OR EXISTS (
        SELECT FROM dripd.contact_tag AS t
        WHERE t.account_id = r.account_id AND t.contact_id = r.contact_id
            AND t.tag = $7::text))
    AND (NOT $8::boolean OR r.hold_reason IS NULL)
    AND ($9::text IS NULL OR e.step_key = $9::text)
ORDER BY p.n;

-- name: pick_of_contact :many
--   $1 account  $2 contact  $3 after  $4 most
SELECT id
FROM dripd.run
WHERE account_id = $1::int4 AND contact_id = $2::int8 AND id > $3::int8
ORDER BY id
LIMIT $4::int4;

-- name: pick_executing :many
-- Runs whose step is leased now: what the claims hold.
--   $1 account, NULL = all  $2 after  $3 most
SELECT d.enrollment_id AS id
FROM dripd.claim AS k
CROSS JOIN LATERAL unnest(k.account_ids) AS held (account_id)
JOIN dripd.lane AS n ON n.account_id = held.account_id
CROSS JOIN LATERAL (  -- by the key, whatever the planner thinks of the rest
    SELECT x.enrollment_id
    FROM dripd.due_step AS x
    WHERE x.account_id = n.account_id AND x.lane = n.lane
        AND x.due_at BETWEEN k.due_lo AND k.due_hi
        AND x.claim_id = k.claim_id
    OFFSET 0
) AS d
WHERE ($1::int4 IS NULL OR n.account_id = $1::int4)
    AND d.enrollment_id > $2::int8
ORDER BY d.enrollment_id
LIMIT $3::int4;

-- name: pick_held :many
-- Runs that are held by themselves.
--   $1 account  $2 campaign  $3 reason, with or without what it names  $4 after  $5 most; NULL = any
SELECT id
FROM dripd.run
WHERE hold_reason IS NOT NULL
    AND status = 1
    AND ($1::int4 IS NULL OR account_id = $1::int4)
    AND ($2::int4 IS NULL OR campaign_id = $2::int4)
    AND ($3::text IS NULL OR $3::text IN (hold_reason, split_part(hold_reason, ':', 1)))
    AND id > $4::int8
ORDER BY id
LIMIT $5::int4;

-- name: pick_held_lanes :many
-- Lanes whose steps are held together: all of them (`whole`), or those that are due.
--   $1 account  $2 campaign  $3 reason  $4 from account  $5 from lane  $6 most; NULL = any
WITH held AS (
    SELECT l.account_id, l.lane,
        CASE
            WHEN a.status <> 'active' THEN 'account_paused'
            WHEN NOT a.subscription_active THEN 'no_subscription'
            WHEN c.status = 'paused' THEN 'paused'
            WHEN c.status IN ('inactive', 'archived') THEN 'inactive'
        END AS gate,
        (SELECT p.reason FROM dripd.park AS p
            WHERE p.account_id = l.account_id AND p.lane IN (l.lane, -1)
            ORDER BY p.lane LIMIT 1) AS parked
    FROM dripd.lane AS l
    JOIN dripd.account AS a ON a.id = l.account_id
    JOIN dripd.campaign AS c ON c.account_id = l.account_id AND c.id = l.campaign_id
    WHERE ($1::int4 IS NULL OR l.account_id = $1::int4)
        AND ($2::int4 IS NULL OR l.campaign_id = $2::int4)
        AND (l.account_id, l.lane) >= ($4::int4, $5::int2)
)
SELECT account_id, lane, gate IS NOT NULL AS whole
FROM held
WHERE coalesce(gate, parked) IS NOT NULL
    AND ($3::text IS NULL OR coalesce(gate, parked) = $3::text)
ORDER BY account_id, lane
LIMIT $6::int4;

-- name: pick_in_lanes :many
-- The steps of these lanes, the first due first.
--   $1 accounts  int4[]
--   $2 lanes     int2[], beside them
--   $3 whole     bool[], beside them: also what is not due yet
--   $4 after     timestamptz, in the first of them
--   $5 after id  int8
--   $6 most
SELECT l.account_id, l.lane, s.due_at, s.id
FROM unnest($1::int4[], $2::int2[], $3::bool[]) WITH ORDINALITY AS l (account_id, lane, whole, n)
CROSS JOIN LATERAL (
    SELECT d.due_at, d.enrollment_id AS id
    FROM dripd.due_step AS d
    WHERE d.account_id = l.account_id
        AND d.lane = l.lane
        AND (l.whole OR d.due_at <= (SELECT dripd.now()))
        AND (l.n > 1 OR (d.due_at, d.enrollment_id) > ($4::timestamptz, $5::int8))
        AND d.claim_id IS NULL
    ORDER BY d.due_at, d.enrollment_id
    LIMIT $6::int4
) AS s
ORDER BY l.n, s.due_at, s.id
LIMIT $6::int4;

-- name: read_enrollment :one
--   $1 enrollment  int8
SELECT e.id, e.account_id, e.campaign_key, e.version, e.contact_id, e.run_no, e.status,
    e.end_reason, e.step_key, e.due_at, e.hold_reason, e.release_at, e.started_at, e.ended_at,
    e.reset_at, e.owner, e.conversation_ref, a.key AS account_key, k.external_id
FROM dripd.enrollment AS e
JOIN dripd.account AS a ON a.id = e.account_id
JOIN dripd.contact AS k ON k.account_id = e.account_id AND k.id = e.contact_id
WHERE e.id = $1::int8;

-- name: read_step_runs :many
--   $1 account     int4
--   $2 enrollment  int8
SELECT account_id, enrollment_id, seq, step_key, kind, outcome, reason, started_at, finished_at
FROM dripd.step_run
WHERE account_id = $1::int4
    AND enrollment_id = $2::int8
ORDER BY seq, finished_at
LIMIT 10000;
