-- name: clock_mode :one
-- Which clock this deployment was started with, and its id.
SELECT d.id, d.clock_mode, (SELECT at FROM dripd.clock) AS at FROM dripd.deployment AS d;

-- name: choose_clock :one
-- The first daemon decides for good.
--   $1 mode text
UPDATE dripd.deployment SET clock_mode = $1::text WHERE clock_mode IS NULL OR clock_mode = $1::text
RETURNING id;

-- name: note_place :exec
-- The first daemon notes where the database is.
UPDATE dripd.deployment
SET place = (SELECT c.system_identifier || '/' || b.oid FROM pg_control_system() AS c, pg_database AS b
    WHERE b.datname = current_database())
WHERE place IS NULL;

-- name: is_at_home :one
-- Is it still where it was noted? A dump that was restored is not. And does it lack what it had committed?
SELECT d.place IS NOT DISTINCT FROM (c.system_identifier || '/' || b.oid) AS at_home, d.behind,
    d.id || '-' || d.adoptions AS adoption
FROM dripd.deployment AS d, pg_control_system() AS c, pg_database AS b
WHERE b.datname = current_database();

-- name: start_clock :exec
--   $1 at timestamptz
INSERT INTO dripd.clock (at) VALUES ($1::timestamptz) ON CONFLICT DO NOTHING;

-- name: move_clock :one
-- Forward only. No commit is waited for: whatever is written at the new instant makes it last.
--   $1 at timestamptz
UPDATE dripd.clock SET at = $1::timestamptz
WHERE at <= $1::timestamptz AND set_config('synchronous_commit', 'off', true) = 'off'
RETURNING at;

-- name: lock_clock :one
-- One mover at a time, for the session.
SELECT pg_try_advisory_lock(7236) AS mine;

-- name: unlock_clock :one
SELECT pg_advisory_unlock(7236) AS mine;

-- name: unsettled :one
-- What keeps the present instant from being settled; all false = settled.
SELECT EXISTS (SELECT FROM dripd.enroll_request WHERE status = 'pending' AND queued_for IS NULL)
        OR EXISTS (SELECT FROM dripd.enroll_request AS q WHERE q.status = 'pending' AND q.queued_for IS NOT NULL AND NOT EXISTS (
            SELECT FROM dripd.run AS r
            WHERE r.account_id = q.account_id AND r.contact_id = q.queued_for AND r.exclusive IS NOT NULL)) AS requests,
    EXISTS (SELECT FROM dripd.event_in) AS events,
    EXISTS (SELECT FROM dripd.usage_in) AS usage,
    EXISTS (SELECT FROM dripd.claim WHERE n > 0) AS claims,
    EXISTS (SELECT FROM dripd.individual_send AS i WHERE i.state = 'leased') AS sends,
    EXISTS (SELECT FROM dripd.outbox WHERE state = 'open' AND due_at <= (SELECT dripd.now())) AS calls,
    EXISTS (SELECT FROM dripd.reply_watch WHERE due_at <= (SELECT dripd.now())) AS replies,
    EXISTS (SELECT FROM dripd.park WHERE release_at <= (SELECT dripd.now())) AS parks,
    EXISTS (SELECT FROM dripd.task WHERE state = 'open' AND recipient IS NOT NULL
        AND reminder_at <= (SELECT dripd.now()) AND snoozed_until IS NULL)
    OR EXISTS (SELECT FROM dripd.task WHERE state = 'open' AND snoozed_until IS NOT NULL
        AND snoozed_until <= (SELECT dripd.now())) AS reminders,
    EXISTS (
        SELECT FROM dripd.lane AS l
        JOIN dripd.account AS a ON a.id = l.account_id AND a.status = 'active' AND a.subscription_active
        JOIN dripd.campaign AS c ON c.account_id = l.account_id AND c.id = l.campaign_id
            AND c.status NOT IN ('paused', 'inactive', 'archived')
        CROSS JOIN LATERAL (
            SELECT 1 FROM dripd.due_step AS d
            WHERE d.account_id = l.account_id AND d.lane = l.lane AND d.due_at <= (SELECT dripd.now())
            LIMIT 1
        ) AS due
        WHERE NOT EXISTS (
            SELECT FROM dripd.park AS p WHERE p.account_id = l.account_id AND p.lane IN (l.lane, -1))
    ) AS due,
    EXISTS (
        SELECT FROM dripd.campaign AS c
        WHERE c.status = 'draining'
            AND NOT EXISTS (
                SELECT FROM dripd.lane AS l
                CROSS JOIN LATERAL (
                    SELECT FROM dripd.due_step AS d
                    WHERE d.account_id = l.account_id AND d.lane = l.lane
                    LIMIT 1
                ) AS waiting
                WHERE l.account_id = c.account_id AND l.campaign_id = c.id)
            AND NOT EXISTS (
                SELECT FROM dripd.due_step AS d
                JOIN dripd.campaign_version AS v ON v.account_id = d.account_id AND v.id = d.cv_id
                WHERE d.account_id = c.account_id AND d.lane = -1 AND v.campaign_id = c.id)
    ) AS drained,
    EXISTS (SELECT FROM dripd.node WHERE NOT dead AND clock_at IS DISTINCT FROM (SELECT at FROM dripd.clock)) AS nodes;

-- name: next_instant :one
-- The next instant after the present one at which anything comes up; NULL = nothing.
SELECT least(
    (SELECT min(due.due_at)
        FROM dripd.lane AS l
        CROSS JOIN LATERAL (
            SELECT d.due_at FROM dripd.due_step AS d
            WHERE d.account_id = l.account_id AND d.lane = l.lane AND d.due_at > (SELECT dripd.now())
            ORDER BY d.due_at
            LIMIT 1
        ) AS due),
    (SELECT min(due_at) FROM dripd.reply_watch WHERE due_at > (SELECT dripd.now())),
    (SELECT min(due_at) FROM dripd.outbox WHERE state = 'open' AND due_at > (SELECT dripd.now())),
    (SELECT min(release_at) FROM dripd.park WHERE release_at > (SELECT dripd.now())),
    (SELECT min(release_at) FROM dripd.run WHERE hold_reason IS NOT NULL AND release_at > (SELECT dripd.now())),
    (SELECT min(reminder_at) FROM dripd.task WHERE state = 'open' AND recipient IS NOT NULL
        AND reminder_at > (SELECT dripd.now())),
    (SELECT min(snoozed_until) FROM dripd.task WHERE state = 'open' AND snoozed_until IS NOT NULL
        AND snoozed_until > (SELECT dripd.now()))
) AS at;

-- name: remind :exec
-- Reminders whose instant has come: who is to be told is told once. Of a task that was snoozed nobody
-- is told before that is over; then whoever is to do it is.
WITH due AS (
    SELECT account_id, id,
        CASE WHEN reminder_at <= (SELECT dripd.now()) THEN recipient END AS recipient,
        CASE WHEN snoozed_until IS NOT NULL THEN coalesce(assignee, snoozed_by) END AS sleeper
    FROM dripd.task
    WHERE state = 'open' AND recipient IS NOT NULL AND reminder_at <= (SELECT dripd.now()) AND snoozed_until IS NULL
        OR state = 'open' AND snoozed_until IS NOT NULL AND snoozed_until <= (SELECT dripd.now())
    FOR UPDATE SKIP LOCKED
), told AS (
    UPDATE dripd.task AS t
    SET recipient = CASE WHEN due.recipient IS NULL THEN t.recipient END,
        snoozed_until = NULL,
        snoozed_by = NULL
    FROM due
    WHERE t.account_id = due.account_id AND t.id = due.id
    RETURNING t.account_id, t.id, t.enrollment_id, due.recipient, due.sleeper, t.title
)
INSERT INTO dripd.notification (account_id, kind, recipient, enrollment_id, task_id, payload)
SELECT account_id, 'task_due', who, enrollment_id, id, jsonb_build_object('title', title)
FROM told
CROSS JOIN LATERAL (SELECT DISTINCT who FROM unnest(ARRAY[told.recipient, told.sleeper]) AS w (who)) AS w
WHERE who IS NOT NULL;

-- name: finish_drained :exec
-- A draining campaign whose last run has ended, in whatever way, is inactive.
WITH over AS (
    UPDATE dripd.campaign AS c SET status = 'inactive'
    WHERE c.status = 'draining'
        AND NOT EXISTS (
            SELECT FROM dripd.lane AS l
            CROSS JOIN LATERAL (
                SELECT FROM dripd.due_step AS d
                WHERE d.account_id = l.account_id AND d.lane = l.lane
                LIMIT 1
            ) AS waiting
            WHERE l.account_id = c.account_id AND l.campaign_id = c.id)
        AND NOT EXISTS (
            SELECT FROM dripd.due_step AS d
            JOIN dripd.campaign_version AS v ON v.account_id = d.account_id AND v.id = d.cv_id
            WHERE d.account_id = c.account_id AND d.lane = -1 AND v.campaign_id = c.id)
    RETURNING c.account_id, c.key
)
INSERT INTO dripd.journal_log (account_id, kind, detail)
SELECT account_id, 'deactivated', jsonb_build_object('campaign', key, 'status', 'inactive') FROM over;

-- name: miss_replies :exec
-- Replies that should have come by now: who waits for one is told, unless it has come, or stands in the queue, or who
-- owes it was erased.
WITH over AS (
    DELETE FROM dripd.reply_watch
    WHERE (account_id, enrollment_id, seq) IN (
        SELECT account_id, enrollment_id, seq FROM dripd.reply_watch
        WHERE due_at <= (SELECT dripd.now())
        ORDER BY due_at
        LIMIT 1000
        FOR UPDATE SKIP LOCKED)
    RETURNING account_id, enrollment_id, seq, contact_id, step_key, recipient, since, due_at
)
INSERT INTO dripd.notification (account_id, kind, recipient, enrollment_id, payload)
SELECT o.account_id, 'no_reply', o.recipient, o.enrollment_id,
    jsonb_build_object('delivery_id', o.enrollment_id || '-' || o.seq, 'step_key', o.step_key)
FROM over AS o
WHERE NOT EXISTS (
        SELECT FROM dripd.event_log AS e
        WHERE e.account_id = o.account_id AND e.contact_id = o.contact_id AND e.kind = 'reply'
            AND e.occurred_at BETWEEN o.since AND o.due_at AND e.refused_reason IS NULL
            AND coalesce(e.payload ->> 'auto', '') <> 'true'
            AND (e.enrollment_id IS NULL OR e.enrollment_id = o.enrollment_id))
    AND NOT EXISTS (
        SELECT FROM dripd.event_in AS e
        WHERE e.account_id = o.account_id AND e.subject IN (o.contact_id, -o.enrollment_id) AND e.kind_bit & 1 <> 0)
    AND NOT EXISTS (
        SELECT FROM dripd.contact AS c
        WHERE c.account_id = o.account_id AND c.id = o.contact_id AND c.erased_at IS NOT NULL);
