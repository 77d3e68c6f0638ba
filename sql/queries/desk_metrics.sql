-- name: read_gauges :one
-- What is counted now and then for the metrics. Everything is bounded: an index, or a limit,
-- or the planner's own estimate where it is beyond 10,000.
SELECT (SELECT count(*) FROM (SELECT FROM dripd.due_step LIMIT 10001) AS part)::int4 AS live,
    (SELECT greatest(c.reltuples, 0) FROM pg_class AS c WHERE c.oid = 'dripd.due_step'::regclass)::int8 AS live_estimate,
    (SELECT count(*) FROM (SELECT FROM dripd.run LIMIT 10001) AS part)::int4 AS runs,
    (SELECT greatest(c.reltuples, 0) FROM pg_class AS c WHERE c.oid = 'dripd.run'::regclass)::int8 AS runs_estimate,
    (SELECT extract(epoch FROM clock_timestamp() - min(k.claimed_at)) FROM dripd.claim AS k)::float8 AS claim_s,
    (SELECT dripd.now()) AS now;

-- name: count_open_tasks :many
-- Open tasks by kind, up to 10,000 in all, and since when the oldest waits.
SELECT t.kind, count(*)::int4 AS n, min(t.created_at) AS oldest_at
FROM (SELECT kind, created_at FROM dripd.task WHERE state = 'open' LIMIT 10000) AS t
GROUP BY t.kind;

-- name: count_in_doubt :many
-- Messages that may have left, of which evidence or an answer is still waited for, by provider. Up to 10,000 of those
-- that are settled by themselves, and as many that wait to be resolved.
SELECT t.provider, count(*)::int4 AS n
FROM (
    (SELECT k.provider
    FROM dripd.kept_message AS k
    WHERE k.until > (SELECT dripd.now())
        AND EXISTS (SELECT FROM dripd.step_log AS l
            WHERE l.account_id = k.account_id AND l.enrollment_id = k.enrollment_id AND l.seq = k.seq
                AND l.state = 3 AND l.channel > 0)
    LIMIT 10000)
    UNION ALL
    (SELECT f.provider
    FROM dripd.run AS r
    JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
    JOIN dripd.step_log AS l
        ON l.account_id = r.account_id AND l.enrollment_id = r.id AND l.seq = d.seq AND l.state = 3
    JOIN dripd.sender AS f ON f.account_id = l.account_id AND f.id = l.sender_id
    WHERE r.hold_reason = 'unknown' AND r.status = 1
        AND NOT EXISTS (SELECT FROM dripd.kept_message AS k
            WHERE k.account_id = d.account_id AND k.enrollment_id = d.enrollment_id AND k.seq = d.seq)
    LIMIT 10000)
) AS t
GROUP BY t.provider;
