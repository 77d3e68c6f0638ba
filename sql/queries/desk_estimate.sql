-- name: sample_active :many
-- How many runs of each campaign live, on a sample of pages of due_step.
--   $1 percent  float4, of the pages
SELECT v.account_id, v.campaign_id, sum(d.n)::int8 AS active
FROM (
    SELECT account_id, cv_id, count(*) AS n
    FROM dripd.due_step TABLESAMPLE SYSTEM ($1::float4)
    GROUP BY account_id, cv_id
) AS d
JOIN dripd.campaign_version AS v ON v.account_id = d.account_id AND v.id = d.cv_id
GROUP BY v.account_id, v.campaign_id;

-- name: sample_replied :many
-- How many runs of each campaign there are, how many have ended and how many by a reply, on a
-- sample of pages.
--   $1 percent  float4, of the pages
SELECT account_id, campaign_id, count(*)::int8 AS runs,
    count(*) FILTER (WHERE status <> 1)::int8 AS ended,
    count(*) FILTER (WHERE end_reason IN ('reply', 'goal:reply'))::int8 AS replied
FROM dripd.run TABLESAMPLE SYSTEM ($1::float4)
WHERE NOT stats_void
GROUP BY account_id, campaign_id;

-- name: last_of_page :one
-- The latest instant on a page of a part of step_log, NULL where it is empty.
--   $1 part  oid  $2 page  int8
SELECT max((t.step).at) AS at
FROM dripd.log_tail($1::oid, $2::int8, ('(' || $2::int8 + 1 || ',0)')::tid) AS t;

-- name: sample_sent :many
-- What became of the messages of each campaign since an instant, on these pages of a part of
-- step_log.
--   $1 part  oid  $2 pages  int8[]  $3 since  timestamptz
SELECT v.account_id, v.campaign_id, sum(l.sent)::int8 AS sent, sum(l.failed)::int8 AS failed
FROM (
    SELECT (t.step).account_id AS account_id, (t.step).cv_id AS cv_id,
        count(*) FILTER (WHERE (t.step).state <> 2) AS sent,
        count(*) FILTER (WHERE (t.step).state = 2) AS failed
    FROM unnest($2::int8[]) AS b (page)
    CROSS JOIN LATERAL dripd.log_tail($1::oid, b.page, ('(' || b.page + 1 || ',0)')::tid) AS t
    WHERE (t.step).channel > 0
        AND (t.step).state BETWEEN 1 AND 3
        AND (t.step).at > $3::timestamptz
    GROUP BY 1, 2
) AS l
JOIN dripd.campaign_version AS v ON v.account_id = l.account_id AND v.id = l.cv_id
GROUP BY v.account_id, v.campaign_id;
