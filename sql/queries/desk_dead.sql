-- name: list_dead :many
-- Runs that are held by themselves and wait for somebody, in groups, the largest first; `sample`
-- are the latest of each.
--   $1 account   int4, NULL = all
--   $2 campaign  int4, NULL = any
--   $3 offset    int4
--   $4 most      int4
--   $5 looked    int4, held runs that are looked at, the latest first
WITH held AS MATERIALIZED (
    SELECT account_id, id, campaign_id, hold_reason
    FROM dripd.run
    WHERE hold_reason IS NOT NULL
        AND status = 1
        AND hold_reason NOT IN ('approval', 'task')
        AND ($1::int4 IS NULL OR account_id = $1::int4)
        AND ($2::int4 IS NULL OR campaign_id = $2::int4)
    ORDER BY id DESC
    LIMIT $5::int4
), dead AS (
    SELECT r.account_id, r.id, a.key AS account_key, c.key AS campaign_key, s.key AS step_key,
        r.hold_reason AS code, last.reason AS error, coalesce(last.at, d.due_at) AS at,
        d.flags & 2 <> 0 AS doubtful
    FROM held AS r
    JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id AND d.lane = -1
    JOIN dripd.account AS a ON a.id = r.account_id
    JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
    LEFT JOIN dripd.version_step AS s
        ON s.account_id = d.account_id AND s.cv_id = d.cv_id AND s.step_no = d.step_no
    LEFT JOIN LATERAL (
        SELECT l.reason, l.at
        FROM dripd.step_log AS l
        WHERE l.account_id = d.account_id AND l.enrollment_id = d.enrollment_id
            AND l.step_no = d.step_no
        ORDER BY l.at DESC
        LIMIT 1
    ) AS last ON true
)
SELECT left(md5(concat_ws('/', account_key, campaign_key, step_key, code, error)), 12) AS "group",
    account_id, account_key, campaign_key, step_key, count(*)::int4 AS count, min(at) AS first_at,
    max(at) AS last_at, code, error, (SELECT count(*) FROM held) >= $5::int4 AS more,
    CASE
        WHEN code = 'step_failed' AND bool_or(doubtful) THEN 'unsafe'
        WHEN code = 'step_failed' THEN 'safe'
        WHEN code = 'quarantined' AND (bool_or(doubtful) OR error LIKE 'daemon\_died%') THEN 'unsafe'
        ELSE 'fix'
    END AS retry,
    (array_agg(id ORDER BY id DESC))[1:3] AS sample
FROM dead
GROUP BY account_id, account_key, campaign_key, step_key, code, error
ORDER BY count(*) DESC, 1
OFFSET $3::int4
LIMIT $4::int4;

-- name: sample_dead :many
-- These held runs, with the last attempt at the step that each waits for; each by its keys,
-- whatever the planner thinks of how many there are.
--   $1 accounts     int4[]
--   $2 enrollments  int8[], beside them
SELECT d.enrollment_id, k.external_id, last.attempt, coalesce(last.at, d.due_at) AS at
FROM unnest($1::int4[], $2::int8[]) AS p (account_id, id)
CROSS JOIN LATERAL (
    SELECT s.account_id, s.enrollment_id, s.contact_id, s.step_no, s.due_at
    FROM dripd.due_step AS s
    WHERE s.account_id = p.account_id AND s.enrollment_id = p.id
    OFFSET 0
) AS d
CROSS JOIN LATERAL (
    SELECT c.external_id
    FROM dripd.contact AS c
    WHERE c.account_id = d.account_id AND c.id = d.contact_id
    OFFSET 0
) AS k
LEFT JOIN LATERAL (
    SELECT l.attempt::int4 AS attempt, l.at
    FROM dripd.step_log AS l
    WHERE l.account_id = d.account_id AND l.enrollment_id = d.enrollment_id
        AND l.step_no = d.step_no
    ORDER BY l.at DESC
    LIMIT 1
) AS last ON true;

-- name: pick_dead :many
-- The runs of groups of list_dead, or of these ids, that are held by themselves, and whether a
-- retry of each is safe.
--   $1 account      int4, NULL = all
--   $2 groups       text[], NULL = any
--   $3 enrollments  int8[], NULL = any
SELECT r.account_id, r.id, r.contact_id, r.campaign_id, r.cv_id, r.status, named."group",
    CASE
        WHEN r.hold_reason = 'step_failed' THEN CASE WHEN d.flags & 2 = 0 THEN 'safe' ELSE 'unsafe' END
        WHEN r.hold_reason = 'quarantined' AND (d.flags & 2 <> 0 OR last.reason LIKE 'daemon\_died%') THEN 'unsafe'
        ELSE 'fix'
    END AS retry
FROM dripd.account AS a
JOIN dripd.due_step AS d ON d.account_id = a.id AND d.lane = -1
JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id
JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
LEFT JOIN dripd.version_step AS s
    ON s.account_id = d.account_id AND s.cv_id = d.cv_id AND s.step_no = d.step_no
LEFT JOIN LATERAL (
    SELECT l.reason
    FROM dripd.step_log AS l
    WHERE l.account_id = d.account_id AND l.enrollment_id = d.enrollment_id
        AND l.step_no = d.step_no
    ORDER BY l.at DESC
    LIMIT 1
) AS last ON true
CROSS JOIN LATERAL (
    SELECT left(md5(concat_ws('/', a.key, c.key, s.key, r.hold_reason, last.reason)), 12) AS "group"
) AS named
WHERE ($1::int4 IS NULL OR a.id = $1::int4)
    AND ($2::text[] IS NULL OR named."group" = ANY ($2::text[]))
    AND ($3::int8[] IS NULL OR r.id = ANY ($3::int8[]))
    AND r.status = 1
    AND r.hold_reason NOT IN ('approval', 'task')
ORDER BY r.id;
