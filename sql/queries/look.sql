-- name: look :one
-- What is new since a moment ago: asked many times a second, so every part is an index probe.
--   $1 seen  bigint[]  nudges that this daemon has taken in
-- locks: nothing
WITH RECURSIVE told AS (
    (SELECT e.account_id FROM dripd.event_in AS e ORDER BY e.account_id NULLS LAST LIMIT 1)
    UNION ALL
    SELECT (SELECT e.account_id FROM dripd.event_in AS e
            WHERE e.account_id > told.account_id ORDER BY e.account_id LIMIT 1)
    FROM told
    WHERE told.account_id IS NOT NULL
)
SELECT (SELECT dripd.now()) AS now,
    EXISTS (SELECT FROM dripd.clock) AS manual,
    EXISTS (SELECT FROM dripd.enroll_request WHERE status = 'pending' AND (queued_for IS NULL OR NOT EXISTS (
            SELECT FROM dripd.run AS r
            WHERE r.account_id = enroll_request.account_id AND r.contact_id = queued_for AND r.exclusive IS NOT NULL))) AS requests,
    ARRAY(SELECT account_id FROM told WHERE account_id IS NOT NULL LIMIT 500) AS events,
    EXISTS (SELECT FROM dripd.event_in WHERE account_id IS NULL)
        OR EXISTS (SELECT FROM dripd.event_in WHERE account_id = 0) AS stray,
    EXISTS (SELECT FROM dripd.usage_in) AS usage,
    ARRAY(SELECT n.id FROM dripd.nudge AS n WHERE n.id <> ALL ($1::bigint[]) ORDER BY n.id LIMIT 5000) AS nudges,
    ARRAY(SELECT n.account_id FROM dripd.nudge AS n WHERE n.id <> ALL ($1::bigint[]) ORDER BY n.id LIMIT 5000)
        AS nudged;

-- name: read_nodes :many
-- Who is there: the incarnations not declared dead.
SELECT incarnation, drain,
    clock_timestamp() - beat_at < make_interval(secs => $1::int4 / 1000.0) AS alive
FROM dripd.node
WHERE NOT dead;
