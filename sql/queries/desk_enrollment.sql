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

-- name: read_holders :many
-- Which daemon has the steps of these runs in hand.
--   $1 accounts     int4[]
--   $2 enrollments  int8[], beside them
SELECT d.enrollment_id, k.incarnation
FROM unnest($1::int4[], $2::int8[]) AS r (account_id, id)
JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
JOIN dripd.claim AS k ON k.claim_id = d.claim_id;

-- name: name_nodes :many
SELECT incarnation, name FROM dripd.node WHERE NOT dead;

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

-- name: read_step_runs :many
--   $1 account     int4
--   $2 enrollment  int8
SELECT account_id, enrollment_id, seq, step_key, kind, outcome, reason, started_at, finished_at
FROM dripd.step_run
WHERE account_id = $1::int4
    AND enrollment_id = $2::int8
ORDER BY seq, finished_at
LIMIT 10000;
