-- name: adopt :one
-- This copy is the deployment from now on. A row: it had not been.
UPDATE dripd.deployment AS d
SET place = c.system_identifier || '/' || b.oid, behind = false, adoptions = d.adoptions + 1
FROM pg_control_system() AS c, pg_database AS b
WHERE b.datname = current_database()
    AND (d.behind OR d.place IS DISTINCT FROM (c.system_identifier || '/' || b.oid))
RETURNING d.id;

-- name: clock_is_manual :one
SELECT EXISTS (SELECT FROM dripd.clock) AS manual;

-- name: list_nodes :many
-- The daemons that have not been declared dead; incarnations as text, JSON has no int8. `skew_ms` is
-- how far the clock of a daemon's host was ahead when its heartbeat came, the way there off it.
SELECT n.name AS node, n.incarnation::text AS incarnation, n.version, n.state, n.drain, n.beat_at AS heartbeat_at, n.accounts,
    extract(epoch FROM clock_timestamp() - n.started_at)::int8 AS up_s,
    extract(epoch FROM clock_timestamp() - n.beat_at)::float8 AS silent_s, n.figures,
    (n.figures ->> 'host_ms')::int8 - (extract(epoch FROM n.beat_at) * 1000)::int8 AS skew_ms,
    (SELECT count(*) FROM dripd.claim AS k WHERE k.incarnation = n.incarnation)::int4 AS claims
FROM dripd.node AS n
WHERE NOT n.dead
ORDER BY n.started_at;

-- name: drain_nodes :many
-- Let daemons of a name, or of an incarnation as text, lease nothing more, or go on.
--   $1 node  $2 drain
-- locks: their node rows, for update
UPDATE dripd.node AS n
SET drain = $2::bool
FROM (
    SELECT incarnation, drain
    FROM dripd.node
    WHERE NOT dead AND $1::text IN (name, incarnation::text)
    ORDER BY incarnation
    FOR UPDATE
) AS old
WHERE n.incarnation = old.incarnation
RETURNING n.name AS node, n.incarnation::text AS incarnation, old.drain AS was;

-- name: read_status :one
-- What is due and not held, up to 1,000 a lane, and what nobody knows the outcome of.
SELECT d.id,
    (SELECT count(*)
        FROM dripd.lane AS l
        CROSS JOIN LATERAL (
            SELECT FROM dripd.due_step AS s
            WHERE s.account_id = l.account_id AND s.lane = l.lane
                AND s.due_at <= (SELECT dripd.now())
            LIMIT 1000
        ) AS due
        WHERE NOT EXISTS (
            SELECT FROM dripd.park AS k
            WHERE k.account_id = l.account_id AND k.lane IN (l.lane, -1))
    )::int4 AS due_now,
    (SELECT count(*) FROM dripd.step_log WHERE state = 3)::int4 AS unknown
FROM dripd.deployment AS d;

-- name: read_queues :many
-- Whose are the oldest 10,000 requests, and 10,000 of the events, that wait? The five accounts that have most of them.
WITH waits AS (
    (SELECT account_id, account_key, true AS is_request
    FROM dripd.enroll_request
    WHERE status = 'pending' AND queued_for IS NULL  -- not those whose contact is busy
    ORDER BY id
    LIMIT 10000)
    UNION ALL
    (SELECT account_id, NULL, false FROM dripd.event_in LIMIT 10000)
)
SELECT coalesce(a.key, w.account_key, '') AS account,
    (count(*) FILTER (WHERE w.is_request))::int4 AS requests,
    (count(*) FILTER (WHERE NOT w.is_request))::int4 AS events
FROM waits AS w
LEFT JOIN dripd.account AS a ON a.id = w.account_id
GROUP BY 1
ORDER BY count(*) DESC, 1
LIMIT 5;

-- name: count_held :many
-- What is held: due steps of lanes that are parked, or whose campaign or account is paused, up to
-- 1,000 a lane, and those held by themselves, up to 10,001.
WITH held AS (
    SELECT DISTINCT ON (l.account_id, l.lane) l.account_id, l.lane, l.campaign_id, k.reason
    FROM dripd.park AS k
    JOIN dripd.lane AS l ON l.account_id = k.account_id AND k.lane IN (l.lane, -1)
    ORDER BY l.account_id, l.lane, k.lane
), stopped AS (
    SELECT c.account_id, c.id AS campaign_id,
        CASE
            WHEN a.status <> 'active' THEN 'account_paused'
            WHEN NOT a.subscription_active THEN 'no_subscription'
            WHEN c.status = 'paused' THEN 'paused'
            ELSE 'inactive'
        END AS reason
    FROM dripd.campaign AS c
    JOIN dripd.account AS a ON a.id = c.account_id
    WHERE a.status <> 'active'
        OR NOT a.subscription_active
        OR c.status IN ('paused', 'inactive', 'archived')
), lanes AS (
    SELECT h.account_id, h.lane, h.reason
    FROM held AS h
    LEFT JOIN stopped AS s ON s.account_id = h.account_id AND s.campaign_id = h.campaign_id
    WHERE s.reason IS NULL
    UNION ALL
    SELECT l.account_id, l.lane, s.reason
    FROM stopped AS s
    JOIN dripd.lane AS l ON l.account_id = s.account_id AND l.campaign_id = s.campaign_id
)
SELECT k.reason, count(*)::int4 AS n
FROM lanes AS k
CROSS JOIN LATERAL (
    SELECT FROM dripd.due_step AS s
    WHERE s.account_id = k.account_id AND s.lane = k.lane AND s.due_at <= (SELECT dripd.now())
    LIMIT 1000
) AS due
GROUP BY k.reason
UNION ALL
SELECT r.hold_reason, count(*)::int4
FROM (
    SELECT hold_reason
    FROM dripd.run
    WHERE hold_reason IS NOT NULL AND status = 1
    LIMIT 10001
) AS r
GROUP BY r.hold_reason;

-- name: list_audit :many
-- The audit, the latest first.
--   $1 who  $2 method  $3 target  $4 since  $5 before (id)  $6 most; NULL = any
SELECT u.id, u.at, u.node, u.uid, u."user", u.role, u.method, u.account_id, a.key AS account_key,
    u.target, u.as_name, u.request_id, u.reason, u.detail, u.result
FROM dripd.admin_audit AS u
LEFT JOIN dripd.account AS a ON a.id = u.account_id
WHERE ($1::text IS NULL OR $1::text IN (u."user", u.as_name))
    AND ($2::text IS NULL OR u.method = $2::text)
    AND ($3::text IS NULL OR u.target = $3::text)
    AND ($4::timestamptz IS NULL OR u.at >= $4::timestamptz)
    AND u.id < $5::int8
ORDER BY u.id DESC
LIMIT $6::int4;
