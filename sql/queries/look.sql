-- name: look :one
-- What is new since a moment ago: asked many times a second, so every part is an index probe.
--   $1 seen  int8multirange  nudges that this daemon has taken in: to look one up costs the same however many they are
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
    EXISTS (SELECT FROM dripd.enroll_request WHERE status = 'pending' AND queued_for IS NULL) AS requests,
    ARRAY(SELECT account_id FROM told WHERE account_id IS NOT NULL LIMIT 500) AS events,
    EXISTS (SELECT FROM dripd.event_in WHERE account_id IS NULL)
        OR EXISTS (SELECT FROM dripd.event_in WHERE account_id = 0) AS stray,
    EXISTS (SELECT FROM dripd.usage_in) AS usage,
    ARRAY(SELECT n.id FROM dripd.nudge AS n WHERE NOT n.id <@ $1::int8multirange ORDER BY n.id LIMIT 5000) AS nudges,
    ARRAY(SELECT n.account_id FROM dripd.nudge AS n WHERE NOT n.id <@ $1::int8multirange ORDER BY n.id LIMIT 5000)
        AS nudged;

-- name: wake_queued :one
-- Requests that wait for contacts who are busy no more: the end of a run wakes them, unless they were locked just then.
-- Asked for some contacts at a time, behind the last one that was asked for.
--   $1 account int  $2 contact bigint  $3 most int
-- returns the last contact, NULL where the round is over
-- locks: the requests, skip locked
WITH asked AS MATERIALIZED (
    SELECT DISTINCT q.account_id, q.queued_for
    FROM dripd.enroll_request AS q
    WHERE q.status = 'pending' AND q.queued_for IS NOT NULL AND (q.account_id, q.queued_for) > ($1::int4, $2::int8)
    ORDER BY q.account_id, q.queued_for
    LIMIT $3::int4
), free AS (
    SELECT q.id
    FROM asked AS s
    JOIN dripd.enroll_request AS q
        ON q.account_id = s.account_id AND q.queued_for = s.queued_for AND q.status = 'pending'
    WHERE NOT EXISTS (
        SELECT FROM dripd.run AS r
        WHERE r.account_id = s.account_id AND r.contact_id = s.queued_for AND r.exclusive IS NOT NULL)
    FOR UPDATE OF q SKIP LOCKED
), woken AS (
    UPDATE dripd.enroll_request AS q SET queued_for = NULL
    FROM free AS f
    WHERE q.id = f.id AND q.status = 'pending'
)
SELECT s.account_id, s.queued_for AS contact_id
FROM asked AS s
WHERE (SELECT count(*) FROM asked) = $3::int4
ORDER BY s.account_id DESC, s.queued_for DESC
LIMIT 1;

-- name: read_nodes :many
-- Who is there: the incarnations not declared dead.
SELECT incarnation, drain,
    clock_timestamp() - beat_at < make_interval(secs => $1::int4 / 1000.0) AS alive
FROM dripd.node
WHERE NOT dead;
