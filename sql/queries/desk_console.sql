-- name: size_table :one
-- How many pages a table has.
--   $1 name  text
SELECT (pg_relation_size($1::text::regclass) / current_setting('block_size')::int8)::int8 AS pages;

-- name: sample_due :many
-- What comes up when, from a sample of pages: slots -2 held by itself, -1 due, 0..59 the second,
-- 100..159 the minute, 1000..1047 the hour from now, 9999 later; and how many of them were tried before. (extract gives a numeric, which
-- is more than twice as dear.)
--   $1 percent  float4, of the pages
SELECT CASE
        WHEN lane = -1 THEN -2
        WHEN s <= 0 THEN -1
        WHEN s < 60 THEN floor(s)
        WHEN s < 3600 THEN 100 + floor(s / 60)
        WHEN s < 172800 THEN 1000 + floor(s / 3600)
        ELSE 9999
    END::int4 AS slot,
    count(*)::int8 AS n,
    (count(*) FILTER (WHERE attempt > 0))::int8 AS n_again
FROM (
    SELECT lane, attempt, date_part('epoch', due_at - (SELECT dripd.now())) AS s
    FROM dripd.due_step TABLESAMPLE SYSTEM ($1::float4)
) AS sampled
GROUP BY 1;

-- name: list_holding :many
-- What holds back what is due, by reason, account and campaign: at most 1,001 a lane are
-- counted, and 200 lanes looked at; of those held by themselves the first 10,001.
WITH held AS (
    SELECT l.account_id, l.lane, a.key AS account_key, c.key AS campaign_key, k.release_at, k.at,
        c.status = 'paused' AND c.pause_mode = 'failing' AS failing,
        CASE
            WHEN a.status <> 'active' THEN 'account_paused'
            WHEN NOT a.subscription_active THEN 'no_subscription'
            WHEN c.status = 'paused' THEN 'paused'
            WHEN c.status IN ('inactive', 'archived') THEN 'inactive'
            ELSE k.reason
        END AS reason
    FROM dripd.lane AS l
    JOIN dripd.account AS a ON a.id = l.account_id
    JOIN dripd.campaign AS c ON c.account_id = l.account_id AND c.id = l.campaign_id
    LEFT JOIN LATERAL (
        SELECT p.reason, p.release_at, p.at
        FROM dripd.park AS p
        WHERE p.account_id = l.account_id AND p.lane IN (l.lane, -1)
        ORDER BY p.lane
        LIMIT 1
    ) AS k ON true
    WHERE k.reason IS NOT NULL
        OR a.status <> 'active'
        OR NOT a.subscription_active
        OR c.status IN ('paused', 'inactive', 'archived')
    LIMIT 200
), counted AS (
    SELECT h.reason, h.account_key, h.campaign_key, h.at, h.release_at, due.n, due.n > 1000 AS more,
        coalesce(h.failing, false) AS failing
    FROM held AS h
    CROSS JOIN LATERAL (
        SELECT count(*)::int4 AS n
        FROM (
            SELECT FROM dripd.due_step AS s
            WHERE s.account_id = h.account_id AND s.lane = h.lane
                AND s.due_at <= (SELECT dripd.now())
            LIMIT 1001
        ) AS bounded
    ) AS due
    UNION ALL
    SELECT r.hold_reason, a.key, c.key, NULL, r.release_at, r.n, r.n > 10000, false
    FROM (
        SELECT part.account_id, part.campaign_id, part.hold_reason, min(part.release_at) AS release_at,
            count(*)::int4 AS n
        FROM (
            SELECT account_id, campaign_id, hold_reason, release_at
            FROM dripd.run
            WHERE hold_reason IS NOT NULL AND status = 1
            LIMIT 10001
        ) AS part
        GROUP BY part.account_id, part.campaign_id, part.hold_reason
        ORDER BY n DESC
        LIMIT 200
    ) AS r
    JOIN dripd.account AS a ON a.id = r.account_id
    JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
)
SELECT reason, account_key, campaign_key, sum(n)::int4 AS count, bool_or(more) AS more,
    bool_or(failing) AS failing,
    min(at) AS since_at, min(release_at) AS release_at
FROM counted
WHERE n > 0 OR failing
GROUP BY reason, account_key, campaign_key
ORDER BY 4 DESC, 1, 2, 3
LIMIT 100;

-- name: list_stopped :many
-- Senders that were paused because too much of what they sent came back: the first few.
SELECT a.key AS account_key, s.address AS sender, s.pause_reason
FROM dripd.sender AS s
JOIN dripd.account AS a ON a.id = s.account_id
WHERE s.status = 'paused'
    AND s.pause_reason IS NOT NULL
ORDER BY s.account_id, s.id
LIMIT 5;

-- name: list_snoozes :many
-- Alerts that are snoozed, and until when.
SELECT what, place, level, until_at, created_by
FROM dripd.snooze
WHERE until_at > (SELECT dripd.now());

-- name: find_snooze :one
--   $1 what  $2 place
SELECT until_at
FROM dripd.snooze
WHERE what = $1::text
    AND place = $2::text
    AND until_at > (SELECT dripd.now())
FOR UPDATE;

-- name: put_snooze :exec
-- Let an alert rest.
--   $1 what  $2 place  $3 level  $4 until  $5 by  $6 reason
INSERT INTO dripd.snooze AS s (what, place, level, until_at, created_by, reason)
VALUES ($1::text, $2::text, $3::text, $4::timestamptz, $5::text, $6::text)
ON CONFLICT (what, place) DO UPDATE
SET level = excluded.level,
    until_at = excluded.until_at,
    created_by = excluded.created_by,
    reason = excluded.reason;

-- name: drop_snoozes :exec
-- Wake an alert; the ones whose time is over go as well.
--   $1 what  $2 place
DELETE FROM dripd.snooze
WHERE what = $1::text AND place = $2::text
    OR until_at <= (SELECT dripd.now());

-- name: count_inbox :one
-- What waits for a person, up to 1,001 of each kind, snoozed ones apart; overdue is what had longer
-- than an instant to be done.
SELECT
    (SELECT count(*) FROM (SELECT FROM dripd.task WHERE state = 'open' AND kind = 'approval'
        AND (snoozed_until IS NULL OR snoozed_until <= (SELECT dripd.now())) LIMIT 1001) AS t)::int4 AS approvals,
    (SELECT count(*) FROM (SELECT FROM dripd.task WHERE state = 'open' AND kind <> 'approval'
        AND (snoozed_until IS NULL OR snoozed_until <= (SELECT dripd.now())) LIMIT 1001) AS t)::int4 AS tasks,
    (SELECT count(*) FROM (SELECT FROM dripd.task WHERE state = 'open' AND snoozed_until IS NOT NULL
        AND snoozed_until > (SELECT dripd.now()) LIMIT 1001) AS t)::int4 AS snoozed,
    (SELECT count(*) FROM (SELECT FROM dripd.task WHERE state = 'open' AND due_at > created_at
        AND due_at <= (SELECT dripd.now())
        AND (snoozed_until IS NULL OR snoozed_until <= (SELECT dripd.now())) LIMIT 1001) AS t)::int4 AS overdue,
    (SELECT count(*) FROM (SELECT FROM dripd.notification WHERE read_at IS NULL LIMIT 1001) AS n)::int4 AS unread,
    (SELECT min(created_at) FROM dripd.task WHERE state = 'open' AND kind = 'approval') AS oldest_approval_at,
    oldest.created_at AS oldest_at,
    oldest.due_at AS oldest_due_at
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT created_at, CASE WHEN due_at > created_at THEN due_at END AS due_at
    FROM dripd.task
    WHERE state = 'open' AND (snoozed_until IS NULL OR snoozed_until <= (SELECT dripd.now()))
    ORDER BY id
    LIMIT 1
) AS oldest ON true;

-- name: count_unknown :one
-- Deliveries of which nobody knows the outcome, up to 1,001, and for how many of them nobody waits
-- any more: their run went on.
SELECT count(*)::int4 AS n, (count(*) FILTER (WHERE u.reason = 'presumed_sent'))::int4 AS presumed
FROM (
    (
        SELECT l.leased_at, l.reason
        FROM dripd.step_log AS l
        WHERE l.state = 3
            AND l.channel > 0
        ORDER BY l.leased_at DESC
        LIMIT 1001
    )
    UNION ALL
    (
        SELECT i.leased_at, i.reason
        FROM dripd.individual_send AS i
        WHERE i.state = 'unknown'
        ORDER BY i.leased_at DESC
        LIMIT 1001
    )
    ORDER BY 1 DESC
    LIMIT 1001
) AS u;

-- name: see_pause :one
-- Is any account at work, and is any paused?
SELECT EXISTS (SELECT FROM dripd.account WHERE status = 'active') AS active,
    EXISTS (SELECT FROM dripd.account WHERE status = 'paused') AS paused;
