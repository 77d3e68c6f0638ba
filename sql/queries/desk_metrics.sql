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
