-- name: read_tally :one
-- A campaign as it was counted last; its age in real time.
--   $1 account  $2 campaign
SELECT at, took_ms, figures,
    greatest(0, extract(epoch FROM clock_timestamp() - counted_at) * 1000)::int8 AS age_ms
FROM dripd.campaign_tally
WHERE account_id = $1::int4
    AND campaign_id = $2::int4;

-- name: keep_tally :exec
--   $1 account  $2 campaign  $3 at  $4 took, ms  $5 figures
INSERT INTO dripd.campaign_tally (account_id, campaign_id, at, took_ms, figures)
VALUES ($1::int4, $2::int4, $3::timestamptz, $4::int4, $5::jsonb)
ON CONFLICT (account_id, campaign_id) DO UPDATE
SET at = excluded.at,
    counted_at = clock_timestamp(),
    took_ms = excluded.took_ms,
    figures = excluded.figures;

-- name: find_counted :one
-- What a count of a campaign needs to know of it.
--   $1 account  $2 campaign
SELECT account_id, id, key, live_cv_id
FROM dripd.campaign
WHERE account_id = $1::int4
    AND id = $2::int4;

-- name: read_stats :one
--   $1 account  $2 campaign key
SELECT account_id, campaign_key, status, enrolled, active, completed, removed, terminated, goal,
    sent
FROM dripd.campaign_stats
WHERE account_id = $1::int4
    AND campaign_key = $2::text;

-- name: read_step_stats :many
-- How many runs wait at each step of each version of a campaign, and what became of it.
--   $1 account  $2 campaign
WITH versions AS (
    SELECT id, version FROM dripd.campaign_version
    WHERE account_id = $1::int4 AND campaign_id = $2::int4
), waiting AS (
    SELECT d.cv_id, d.step_no, count(*)::int4 AS n
    FROM dripd.due_step AS d
    JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id
    WHERE d.account_id = $1::int4
        AND d.cv_id IN (SELECT id FROM versions)
        AND r.status = 1
        AND NOT r.stats_void
    GROUP BY d.cv_id, d.step_no
), happened AS (
    SELECT l.cv_id, l.step_no,
        count(*) FILTER (WHERE l.state IN (1, 3, 5))::int4 AS done,
        count(*) FILTER (WHERE l.state = 6)::int4 AS skipped,
        count(*) FILTER (WHERE l.state = 2)::int4 AS failed,
        count(*) FILTER (WHERE l.state IN (1, 3) AND l.channel > 0)::int4 AS sent
    FROM dripd.step_log AS l
    JOIN dripd.run AS r ON r.account_id = l.account_id AND r.id = l.enrollment_id
    WHERE l.account_id = $1::int4
        AND l.cv_id IN (SELECT id FROM versions)
        AND NOT r.stats_void
    GROUP BY l.cv_id, l.step_no
)
SELECT v.id AS cv_id, v.version, s.key AS step_key, s.name, coalesce(w.n, 0) AS at,
    coalesce(h.done, 0) AS done, coalesce(h.skipped, 0) AS skipped, coalesce(h.failed, 0) AS failed,
    coalesce(h.sent, 0) AS sent
FROM versions AS v
JOIN dripd.version_step AS s ON s.account_id = $1::int4 AND s.cv_id = v.id
LEFT JOIN waiting AS w ON w.cv_id = s.cv_id AND w.step_no = s.step_no
LEFT JOIN happened AS h ON h.cv_id = s.cv_id AND h.step_no = s.step_no
ORDER BY v.version, s.step_no;

-- name: count_entered :many
-- How many runs are, or ended, in each version of a campaign.
--   $1 account  $2 campaign
SELECT r.cv_id, count(*)::int4 AS n
FROM dripd.run AS r
WHERE r.account_id = $1::int4
    AND r.campaign_id = $2::int4
    AND NOT r.stats_void
GROUP BY r.cv_id;

-- name: count_left :many
-- How many runs ended before the end of the campaign, by version, the step that they had come to
-- and the reason.
--   $1 account  $2 campaign
SELECT r.cv_id, coalesce(l.step_no + 1, 0)::int4 AS step_no, r.end_reason AS reason,
    count(*)::int4 AS n
FROM dripd.run AS r
LEFT JOIN (
    SELECT enrollment_id, max(step_no) AS step_no
    FROM dripd.step_log
    WHERE account_id = $1::int4
        AND cv_id IN (SELECT id FROM dripd.campaign_version WHERE account_id = $1::int4 AND campaign_id = $2::int4)
        AND state BETWEEN 1 AND 6
        AND state <> 4
    GROUP BY enrollment_id
) AS l ON l.enrollment_id = r.id
WHERE r.account_id = $1::int4
    AND r.campaign_id = $2::int4
    AND r.status > 1
    AND r.end_reason <> 'completed'
    AND NOT r.stats_void
GROUP BY 1, 2, 3;
