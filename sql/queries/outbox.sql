-- name: call_out :exec
-- Calls that steps ask for, once a step; one that failed and is asked for again begins anew.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]  $4 step keys text[]  $5 kinds text[]  $6 targets text[]
--   $7 awaited boolean[]  $8 contacts bigint[]  $9 versions int[]  $10 steps int2[] (where there is no run)
INSERT INTO dripd.outbox AS o (account_id, enrollment_id, seq, step_key, kind, target, awaited, contact_id, cv_id,
    step_no)
SELECT k.a, k.e, k.seq, k.key, k.kind, k.target, k.awaited,
    CASE WHEN k.e IS NULL THEN k.c END, CASE WHEN k.e IS NULL THEN k.cv END, CASE WHEN k.e IS NULL THEN k.no END
FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::text[], $5::text[], $6::text[], $7::bool[], $8::int8[],
    $9::int4[], $10::int2[]) AS k (a, e, seq, key, kind, target, awaited, c, cv, no)
ON CONFLICT (account_id, enrollment_id, seq) DO UPDATE
SET state = 'open', reason = NULL, attempt = 0, taken_until = NULL, due_at = excluded.due_at
WHERE o.state <> 'open';

-- name: take_calls :many
-- Calls that are due, a few for each target, so that a slow server holds up nobody else's; with what they say.
-- One that somebody has taken is free again when he is dead, or his patience over.
--   $1 most int  $2 most of a target int  $3 patience interval, real time  $4 incarnation bigint
-- locks: outbox rows
WITH RECURSIVE target (account_id, kind, target) AS (
    (SELECT o.account_id, o.kind, o.target FROM dripd.outbox AS o
    WHERE o.state = 'open'
    ORDER BY o.account_id, o.kind, o.target
    LIMIT 1)
    UNION ALL
    SELECT n.account_id, n.kind, n.target
    FROM target AS t
    CROSS JOIN LATERAL (
        SELECT o.account_id, o.kind, o.target FROM dripd.outbox AS o
        WHERE o.state = 'open' AND (o.account_id, o.kind, o.target) > (t.account_id, t.kind, t.target)
        ORDER BY o.account_id, o.kind, o.target
        LIMIT 1
    ) AS n
), due AS (
    SELECT f.account_id, f.id, f.attempt, f.reason
    FROM target AS t
    CROSS JOIN LATERAL (
        SELECT o.account_id, o.id, o.due_at, o.taken_until, o.taken_by, o.attempt, o.reason FROM dripd.outbox AS o
        WHERE o.state = 'open' AND o.account_id = t.account_id AND o.kind = t.kind AND o.target = t.target
            AND o.due_at <= (SELECT dripd.now())
        ORDER BY o.due_at, o.id
        LIMIT $2::int4
    ) AS f
    WHERE f.taken_until IS NULL OR f.taken_until < clock_timestamp()
        OR f.taken_by IS NOT NULL
            AND NOT EXISTS (SELECT FROM dripd.node AS n WHERE n.incarnation = f.taken_by AND NOT n.dead)
    ORDER BY f.due_at
    LIMIT $1::int4
), taken AS (
    UPDATE dripd.outbox AS o
    SET taken_until = clock_timestamp() + $3::interval, taken_by = $4::int8,
        attempt = least(o.attempt + 1, 32000), reason = NULL
    FROM due
    WHERE o.account_id = due.account_id AND o.id = due.id AND o.state = 'open'
        AND o.attempt = due.attempt
    RETURNING o.account_id, o.id, o.enrollment_id, o.seq, o.step_key, o.kind, o.target, o.awaited, o.attempt,
        o.contact_id, o.cv_id, o.step_no, due.reason
)
SELECT t.account_id, t.id, t.enrollment_id, t.seq, t.step_key, t.kind, t.target, t.awaited, t.attempt::int4 AS attempt, t.reason,
    a.key AS account_key, v.campaign_key, coalesce(r.run_no, 0) AS run_no, r.vars::text AS vars, k.url, k.secret,
    coalesce(t.contact_id, r.contact_id) AS contact_id, v.id AS cv_id, t.step_no::int4 AS step_no,
    c.external_id, c.email, c.phone, c.timezone, c.owner, c.service_owner, c.attrs::text AS attrs
FROM taken AS t
JOIN dripd.account AS a ON a.id = t.account_id
LEFT JOIN dripd.run AS r ON r.account_id = t.account_id AND r.id = t.enrollment_id
JOIN dripd.campaign_version AS v ON v.account_id = t.account_id AND v.id = coalesce(t.cv_id, r.cv_id)
LEFT JOIN dripd.contact AS c ON c.account_id = t.account_id AND c.id = coalesce(t.contact_id, r.contact_id)
LEFT JOIN dripd.connector AS k ON k.account_id = t.account_id AND k.key = t.target AND t.kind <> 'script'
ORDER BY t.account_id, t.id;

-- name: end_calls :exec
-- How calls came out: those that nobody waits for are gone with it, the others are told to the inbox. One that
-- another has taken over is his: the attempt is the fence.
--   $1 accounts int[]  $2 ids bigint[]  $3 attempts int[]  $4 states text[] (open: again at the instant)
--   $5 reasons text[]  $6 again timestamptz[]
WITH ended AS (
    SELECT * FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::text[], $5::text[], $6::timestamptz[])
        AS k (account_id, id, attempt, state, reason, again)
), gone AS (
    DELETE FROM dripd.outbox AS o
    USING ended AS k
    WHERE o.account_id = k.account_id AND o.id = k.id AND o.attempt = k.attempt AND NOT o.awaited AND k.state <> 'open'
    RETURNING o.account_id, o.enrollment_id, o.contact_id, o.step_key, o.target, k.state, k.reason
), noted AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT g.account_id, g.enrollment_id, coalesce(g.contact_id, r.contact_id), 'call_failed',
        jsonb_build_object('step_key', g.step_key, 'target', g.target, 'reason', g.reason)
    FROM gone AS g
    LEFT JOIN dripd.run AS r ON r.account_id = g.account_id AND r.id = g.enrollment_id
    WHERE g.state = 'failed'
), kept AS (
    UPDATE dripd.outbox AS o
    SET state = k.state, reason = k.reason, taken_until = NULL, due_at = coalesce(k.again, o.due_at)
    FROM ended AS k
    WHERE o.account_id = k.account_id AND o.id = k.id AND o.attempt = k.attempt AND o.state = 'open'
        AND (o.awaited OR k.state = 'open')
    RETURNING o.account_id, o.enrollment_id, o.seq, o.state
)
INSERT INTO dripd.event_in (account_id, contact_id, kind, delivery_id, payload, internal)
SELECT k.account_id, r.contact_id, 'task_closed', k.enrollment_id || '-' || k.seq, '{}', true
FROM kept AS k
JOIN dripd.run AS r ON r.account_id = k.account_id AND r.id = k.enrollment_id AND r.status = 1
WHERE k.state <> 'open';

-- name: sweep_outbox :exec
-- Answers that have been read: the run is past the step, or over.
DELETE FROM dripd.outbox AS o
WHERE o.state <> 'open'
    AND NOT EXISTS (
        SELECT FROM dripd.due_step AS d
        WHERE d.account_id = o.account_id AND d.enrollment_id = o.enrollment_id AND d.seq <= o.seq
    );
