-- name: list_tasks :many
-- Tasks by id; those of nobody are those of the members of their category. What a run waits for
-- blocks it, and the requests that wait until its contact is free: counted up to 1,001.
--   $1 account  $2 kind  $3 assignee  $4 campaign  $5 state  $6 after  $7 most; NULL = any
--   $8 snoozed  boolean, NULL = any
WITH listed AS MATERIALIZED (
    SELECT t.id, t.account_id, t.enrollment_id, t.contact_id, t.campaign_key, t.step_key, t.kind,
        t.title, t.assignee, t.category, t.due_at, t.reminder_at, t.state, t.payload, t.created_at,
        t.closed_by, t.closed_at, md5(t.payload::text) AS draft, z.until AS snoozed_until,
        CASE WHEN z.until IS NOT NULL THEN t.snoozed_by END AS snoozed_by,
        t.awaited AND t.state = 'open' AS is_awaited, t.seq
    FROM dripd.task AS t
    CROSS JOIN LATERAL (
        SELECT CASE WHEN t.state = 'open' AND t.snoozed_until > (SELECT dripd.now()) THEN t.snoozed_until END AS until
    ) AS z
    WHERE ($1::int4 IS NULL OR t.account_id = $1::int4)
        AND ($2::text IS NULL OR t.kind = $2::text)
        AND ($3::text IS NULL OR t.assignee = $3::text OR t.assignee IS NULL AND EXISTS (
            SELECT FROM dripd.campaign AS c
            JOIN dripd.campaign_version AS v ON v.account_id = c.account_id AND v.id = c.live_cv_id
            WHERE c.account_id = t.account_id AND c.key = t.campaign_key
                AND v.definition -> 'categories' -> t.category ? $3::text))
        AND ($4::text IS NULL OR t.campaign_key = $4::text)
        AND ($5::text IS NULL OR t.state = $5::text)
        AND ($8::boolean IS NULL OR (z.until IS NOT NULL) = $8::boolean)
        AND t.id > $6::int8
    ORDER BY t.id
    LIMIT $7::int4
)
SELECT t.id, t.account_id, t.enrollment_id, t.contact_id, t.campaign_key, t.step_key, t.kind,
    t.title, t.assignee, t.category, t.due_at, t.reminder_at, t.state, t.payload, t.created_at,
    t.closed_by, t.closed_at, t.snoozed_until, t.snoozed_by, t.draft, a.key AS account_key,
    CASE WHEN run.contact_id IS NULL THEN 0 ELSE 1 + queued.n END AS blocks, run.expires_at
FROM listed AS t
JOIN dripd.account AS a ON a.id = t.account_id
LEFT JOIN LATERAL (
    SELECT r.contact_id, r.exclusive IS NOT NULL AS is_exclusive,
        CASE WHEN r.hold_reason IN ('approval', 'task') THEN r.release_at END AS expires_at
    FROM dripd.run AS r
    JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
    WHERE t.is_awaited
        AND r.account_id = t.account_id AND r.id = t.enrollment_id
        AND d.seq = t.seq
) AS run ON true
LEFT JOIN LATERAL (
    SELECT count(*)::int4 AS n
    FROM (
        SELECT FROM dripd.enroll_request AS q
        WHERE q.account_id = t.account_id AND q.queued_for = run.contact_id
            AND q.status = 'pending' AND run.is_exclusive
        LIMIT 1000
    ) AS bounded
) AS queued ON true
ORDER BY t.id;

-- name: lock_task :one
--   $1 id  int8
-- locks: the task
SELECT id, account_id, enrollment_id, contact_id, campaign_key, step_key, kind, title, assignee,
    category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at,
    md5(payload::text) AS draft,
    CASE WHEN snoozed_until > (SELECT dripd.now()) THEN snoozed_until END AS snoozed_until, snoozed_by
FROM dripd.task
WHERE id = $1::int8
FOR UPDATE;

-- name: wait_of_task :one
-- When the run that waits for a task goes on without it; NULL = never.
--   $1 account  $2 id
SELECT r.release_at
FROM dripd.task AS t
JOIN dripd.run AS r ON r.account_id = t.account_id AND r.id = t.enrollment_id
JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id AND d.seq = t.seq
WHERE t.account_id = $1::int4 AND t.id = $2::int8
    AND t.awaited AND r.hold_reason IN ('approval', 'task');

-- name: snooze_task :one
-- Nobody needs to look at a task until then; NULL = it is awake.
--   $1 account  $2 id  $3 until  $4 by
UPDATE dripd.task
SET snoozed_until = $3::timestamptz,
    snoozed_by = $4::text
WHERE account_id = $1::int4
    AND id = $2::int8
RETURNING id, account_id, enrollment_id, contact_id, campaign_key, step_key, kind, title,
    assignee, category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at,
    snoozed_until, snoozed_by;

-- name: definition_of_run :one
--   $1 account  $2 enrollment
SELECT v.definition
FROM dripd.run AS r
JOIN dripd.campaign_version AS v ON v.account_id = r.account_id AND v.id = r.cv_id
WHERE r.account_id = $1::int4 AND r.id = $2::int8;

-- name: close_task :one
-- An open task is done or cancelled.
--   $1 account  $2 id  $3 state  $4 by  $5 more of the payload
UPDATE dripd.task
SET state = $3::text,
    closed_by = $4::text,
    closed_at = (SELECT dripd.now()),
    payload = payload || $5::jsonb
WHERE account_id = $1::int4
    AND id = $2::int8
RETURNING id, account_id, enrollment_id, contact_id, campaign_key, step_key, kind, title,
    assignee, category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at,
    snoozed_until, snoozed_by;

-- name: edit_task :one
-- The draft of an open task, as it is to be from now on.
--   $1 account  $2 id  $3 what of the payload is new
UPDATE dripd.task
SET payload = payload || $3::jsonb
WHERE account_id = $1::int4
    AND id = $2::int8
RETURNING id, account_id, enrollment_id, contact_id, campaign_key, step_key, kind, title,
    assignee, category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at,
    snoozed_until, snoozed_by;

-- name: assign_task :one
-- Who is to do it is told of it, where whoever was to do it would have been; for another it is awake.
--   $1 account  $2 id  $3 to
UPDATE dripd.task
SET assignee = $3::text,
    recipient = CASE WHEN recipient IN (assignee, '') THEN $3::text ELSE recipient END,
    snoozed_until = CASE WHEN assignee = $3::text THEN snoozed_until END,
    snoozed_by = CASE WHEN assignee = $3::text THEN snoozed_by END
WHERE account_id = $1::int4
    AND id = $2::int8
RETURNING id, account_id, enrollment_id, contact_id, campaign_key, step_key, kind, title,
    assignee, category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at,
    snoozed_until, snoozed_by;

-- name: list_notifications :many
-- Notifications by id.
--   $1 account  $2 recipient  $3 unread only  $4 after  $5 most; NULL = any
SELECT n.id, n.account_id, n.kind, n.recipient, n.enrollment_id, n.task_id, n.payload,
    n.created_at, n.read_at, a.key AS account_key
FROM dripd.notification AS n
JOIN dripd.account AS a ON a.id = n.account_id
WHERE ($1::int4 IS NULL OR n.account_id = $1::int4)
    AND ($2::text IS NULL OR n.recipient = $2::text)
    AND (NOT $3::boolean OR n.read_at IS NULL)
    AND n.id > $4::int8
ORDER BY n.id
LIMIT $5::int4;

-- name: read_notification :one
-- Mark as read; the first reading stays.
--   $1 id  int8
WITH meant AS (
    SELECT account_id, id, read_at
    FROM dripd.notification
    WHERE id = $1::int8
    FOR UPDATE
), marked AS (
    UPDATE dripd.notification AS n
    SET read_at = (SELECT dripd.now())
    FROM meant
    WHERE n.account_id = meant.account_id
        AND n.id = meant.id
        AND meant.read_at IS NULL
)
SELECT account_id, read_at IS NULL AS changed
FROM meant;
