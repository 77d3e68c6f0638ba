-- name: list_tasks :many
-- Tasks by id; those of nobody are those of the members of their category.
--   $1 account  $2 kind  $3 assignee  $4 campaign  $5 state  $6 after  $7 most; NULL = any
SELECT t.id, t.account_id, t.enrollment_id, t.contact_id, t.campaign_key, t.step_key, t.kind,
    t.title, t.assignee, t.category, t.due_at, t.reminder_at, t.state, t.payload, t.created_at,
    t.closed_by, t.closed_at, a.key AS account_key, md5(t.payload::text) AS draft
FROM dripd.task AS t
JOIN dripd.account AS a ON a.id = t.account_id
WHERE ($1::int4 IS NULL OR t.account_id = $1::int4)
    AND ($2::text IS NULL OR t.kind = $2::text)
    AND ($3::text IS NULL OR t.assignee = $3::text OR t.assignee IS NULL AND EXISTS (
        SELECT FROM dripd.campaign AS c
        JOIN dripd.campaign_version AS v ON v.account_id = c.account_id AND v.id = c.live_cv_id
        WHERE c.account_id = t.account_id AND c.key = t.campaign_key
            AND v.definition -> 'categories' -> t.category ? $3::text))
    AND ($4::text IS NULL OR t.campaign_key = $4::text)
    AND ($5::text IS NULL OR t.state = $5::text)
    AND t.id > $6::int8
ORDER BY t.id
LIMIT $7::int4;

-- name: lock_task :one
--   $1 id  int8
-- locks: the task
SELECT id, account_id, enrollment_id, contact_id, campaign_key, step_key, kind, title, assignee,
    category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at,
    md5(payload::text) AS draft
FROM dripd.task
WHERE id = $1::int8
FOR UPDATE;

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
    assignee, category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at;

-- name: edit_task :one
-- The draft of an open task, as it is to be from now on.
--   $1 account  $2 id  $3 what of the payload is new
UPDATE dripd.task
SET payload = payload || $3::jsonb
WHERE account_id = $1::int4
    AND id = $2::int8
RETURNING id, account_id, enrollment_id, contact_id, campaign_key, step_key, kind, title,
    assignee, category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at;

-- name: assign_task :one
-- Who is to do it is told of it, where whoever was to do it would have been.
--   $1 account  $2 id  $3 to
UPDATE dripd.task
SET assignee = $3::text, recipient = CASE WHEN recipient IN (assignee, '') THEN $3::text ELSE recipient END
WHERE account_id = $1::int4
    AND id = $2::int8
RETURNING id, account_id, enrollment_id, contact_id, campaign_key, step_key, kind, title,
    assignee, category, due_at, reminder_at, state, payload, created_at, closed_by, closed_at;

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

-- name: list_deliveries :many
-- Deliveries of a contact or of a run, the latest lease first.
--   $1 account  $2 state  $3 channel  $4 campaign  $5 contact  $6 enrollment
--   $7 before (ms)  $8 before id  $9 most; NULL = any
SELECT d.id, d.account_id, d.enrollment_id, d.step_key, d.run_no, d.channel, d.sender_id,
    d.to_address, d.idempotency_key, d.state, d.attempt, d.provider, d.provider_id, d.segments,
    d.subject, d.leased_at, d.sent_at, d.accepted_at, d.reason, a.key AS account_key,
    (extract(epoch FROM d.leased_at) * 1000)::int8 AS cursor_ms
FROM dripd.delivery AS d
JOIN dripd.account AS a ON a.id = d.account_id
WHERE ($1::int4 IS NULL OR d.account_id = $1::int4)
    AND ($2::text IS NULL OR d.state = $2::text)
    AND ($3::text IS NULL OR d.channel = $3::text)
    AND ($4::int4 IS NULL OR d.enrollment_id IN (
        SELECT r.id FROM dripd.run AS r
        WHERE r.account_id = $1::int4 AND r.campaign_id = $4::int4))
    AND ($5::int8 IS NULL OR d.enrollment_id IN (
        SELECT r.id FROM dripd.run AS r
        WHERE r.account_id = $1::int4 AND r.contact_id = $5::int8)
        OR d.id IN (
        SELECT 'i-' || i.id FROM dripd.individual_send AS i
        WHERE i.account_id = $1::int4 AND i.contact_id = $5::int8))
    AND ($6::int8 IS NULL OR d.enrollment_id = $6::int8)
    AND ((extract(epoch FROM d.leased_at) * 1000)::int8, d.id) < ($7::int8, $8::text)
ORDER BY cursor_ms DESC, d.id DESC
LIMIT $9::int4;

-- name: list_log_parts :many
-- The parts of step_log that hold anything, the one with the latest rows first.
SELECT p.oid AS part, p.pages
FROM (
    SELECT c.oid, (pg_relation_size(c.oid) / current_setting('block_size')::int8)::int8 AS pages
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'dripd.step_log'::regclass
    OFFSET 0
) AS p
CROSS JOIN LATERAL (
    SELECT max((t.step).at) AS last_at
    FROM dripd.log_tail(p.oid, p.pages - 1, ('(' || p.pages || ',0)')::tid) AS t
) AS l
WHERE p.pages > 0
ORDER BY l.last_at DESC NULLS LAST, p.oid;

-- name: list_log :many
-- Deliveries on some pages of a part of step_log, the latest written first.
--   $1 part oid  $2 first page int8  $3 before tid
--   $4 account  $5 state in the table  $6 channel in the table  $7 campaign  $8 most; NULL = any
SELECT w.place, (w.step).enrollment_id || '-' || (w.step).seq AS id, (w.step).account_id, (w.step).enrollment_id,
    s.key AS step_key, (w.step).run_no::int4 AS run_no,
    CASE (w.step).channel WHEN 1 THEN 'email' ELSE 'sms' END AS channel, (w.step).sender_id, (w.step).to_address,
    'dripd:' || (SELECT id FROM dripd.deployment) || ':' || (w.step).enrollment_id || ':' || (w.step).run_no || ':' || s.key
        AS idempotency_key,
    CASE (w.step).state WHEN 1 THEN 'accepted' WHEN 2 THEN 'failed' WHEN 3 THEN 'unknown' ELSE 'cancelled' END AS state,
    (w.step).attempt::int4 AS attempt, f.provider, (w.step).provider_id, (w.step).segments::int4 AS segments,
    (w.step).subject, (w.step).leased_at, (w.step).sent_at,
    CASE WHEN (w.step).state = 1 THEN (w.step).at END AS accepted_at, (w.step).reason, a.key AS account_key
FROM (  -- picked first: what is joined is a page, not all that was looked at
    SELECT t.place, t.step
    FROM dripd.log_tail($1::oid, $2::int8, $3::tid) AS t
    WHERE (t.step).channel > 0
        AND (t.step).state BETWEEN 1 AND 4
        AND ($4::int4 IS NULL OR (t.step).account_id = $4::int4)
        AND ($5::int4 IS NULL OR (t.step).state = $5::int4)
        AND ($6::int4 IS NULL OR (t.step).channel = $6::int4)
        AND ($7::int4 IS NULL OR EXISTS (
            SELECT FROM dripd.campaign_version AS v
            WHERE v.account_id = (t.step).account_id AND v.id = (t.step).cv_id AND v.campaign_id = $7::int4))
    ORDER BY t.place DESC
    LIMIT $8::int4
) AS w
JOIN dripd.account AS a ON a.id = (w.step).account_id
JOIN dripd.version_step AS s
    ON s.account_id = (w.step).account_id AND s.cv_id = (w.step).cv_id AND s.step_no = (w.step).step_no
LEFT JOIN dripd.sender AS f ON f.account_id = (w.step).account_id AND f.id = (w.step).sender_id
ORDER BY w.place DESC;

-- name: list_leased :many
-- Messages that are under way, the latest lease first: what the claims hold, as `dripd.delivery` tells it.
--   $1 account  $2 channel  $3 campaign  $4 those that are passed over  $5 most; NULL = any
SELECT d.enrollment_id || '-' || d.seq AS id, n.account_id, d.enrollment_id, s.key AS step_key,
    d.run_no::int4 AS run_no, s.kind AS channel, NULL::int4 AS sender_id, NULL::text AS to_address,
    'dripd:' || (SELECT id FROM dripd.deployment) || ':' || d.enrollment_id || ':' || d.run_no || ':' || s.key
        AS idempotency_key,
    'leased' AS state, (greatest(d.attempt, 0) + 1)::int4 AS attempt, NULL::text AS provider,
    NULL::text AS provider_id, NULL::int4 AS segments, NULL::text AS subject, k.leased_at,
    NULL::timestamptz AS sent_at, NULL::timestamptz AS accepted_at, NULL::text AS reason, a.key AS account_key
FROM dripd.claim AS k
CROSS JOIN LATERAL unnest(k.account_ids) AS held (account_id)
JOIN dripd.account AS a ON a.id = held.account_id
JOIN dripd.lane AS n ON n.account_id = held.account_id
CROSS JOIN LATERAL (  -- by the key, whatever the planner thinks of the rest
    SELECT x.enrollment_id, x.seq, x.run_no, x.attempt, x.cv_id, x.step_no
    FROM dripd.due_step AS x
    WHERE x.account_id = n.account_id AND x.lane = n.lane
        AND x.due_at BETWEEN k.due_lo AND k.due_hi
        AND x.claim_id = k.claim_id
        AND x.flags & 2 = 0
    OFFSET 0
) AS d
JOIN dripd.version_step AS s ON s.account_id = n.account_id AND s.cv_id = d.cv_id AND s.step_no = d.step_no
WHERE s.kind IN ('email', 'sms')
    AND ($1::int4 IS NULL OR n.account_id = $1::int4)
    AND ($2::text IS NULL OR s.kind = $2::text)
    AND ($3::int4 IS NULL OR d.cv_id IN (
        SELECT v.id FROM dripd.campaign_version AS v
        WHERE v.account_id = $1::int4 AND v.campaign_id = $3::int4))
ORDER BY k.leased_at DESC, id DESC
OFFSET $4::int4
LIMIT $5::int4;

-- name: list_individual :many
-- Messages sent by hand, the latest first.
--   $1 account  $2 state  $3 channel  $4 before id  $5 most; NULL = any
SELECT i.id AS number, 'i-' || i.id AS id, i.account_id, NULL::int8 AS enrollment_id, NULL::text AS step_key,
    NULL::int4 AS run_no, i.channel, i.sender_id, i.to_address,
    'dripd:' || (SELECT id FROM dripd.deployment) || ':i-' || i.id AS idempotency_key, i.state, 1 AS attempt,
    f.provider, i.provider_id, i.segments::int4 AS segments, i.subject, i.leased_at, i.sent_at, i.accepted_at,
    i.reason, a.key AS account_key
FROM dripd.individual_send AS i
JOIN dripd.account AS a ON a.id = i.account_id
LEFT JOIN dripd.sender AS f ON f.account_id = i.account_id AND f.id = i.sender_id
WHERE i.id < $4::int8
    AND ($1::int4 IS NULL OR i.account_id = $1::int4)
    AND ($2::text IS NULL OR i.state = $2::text)
    AND ($3::text IS NULL OR i.channel = $3::text)
ORDER BY i.id DESC
LIMIT $5::int4;

-- name: list_unknown :many
-- Deliveries of which nobody knows the outcome, the latest lease first: an index knows them.
--   $1 account  $2 channel  $3 campaign  $4 contact  $5 enrollment
--   $6 before (instant)  $7 before id  $8 most; NULL = any
WITH unknown AS (
    (
        SELECT l.enrollment_id || '-' || l.seq AS id, l.account_id, l.enrollment_id, l.cv_id, l.step_no,
            l.run_no::int4 AS run_no, CASE l.channel WHEN 1 THEN 'email' ELSE 'sms' END AS channel,
            l.sender_id, l.to_address, l.attempt::int4 AS attempt, l.provider_id,
            l.segments::int4 AS segments, l.subject, l.leased_at, l.sent_at, l.reason
        FROM dripd.step_log AS l
        JOIN dripd.run AS r ON r.account_id = l.account_id AND r.id = l.enrollment_id
        WHERE l.state = 3
            AND l.channel > 0
            AND l.leased_at <= $6::timestamptz
            AND (l.leased_at < $6::timestamptz OR l.enrollment_id || '-' || l.seq < $7::text)
            AND ($1::int4 IS NULL OR l.account_id = $1::int4)
            AND ($2::text IS NULL OR l.channel = CASE $2::text WHEN 'email' THEN 1 ELSE 2 END)
            AND ($3::int4 IS NULL OR r.campaign_id = $3::int4)
            AND ($4::int8 IS NULL OR r.contact_id = $4::int8)
            AND ($5::int8 IS NULL OR l.enrollment_id = $5::int8)
        ORDER BY l.leased_at DESC, 1 DESC
        LIMIT $8::int4
    )
    UNION ALL
    (
        SELECT 'i-' || i.id, i.account_id, NULL, NULL, NULL, NULL, i.channel, i.sender_id, i.to_address,
            1, i.provider_id, i.segments::int4, i.subject, i.leased_at, i.sent_at, i.reason
        FROM dripd.individual_send AS i
        WHERE i.state = 'unknown'
            AND i.leased_at <= $6::timestamptz
            AND (i.leased_at < $6::timestamptz OR 'i-' || i.id < $7::text)
            AND ($1::int4 IS NULL OR i.account_id = $1::int4)
            AND ($2::text IS NULL OR i.channel = $2::text)
            AND $3::int4 IS NULL
            AND ($4::int8 IS NULL OR i.contact_id = $4::int8)
            AND $5::int8 IS NULL
        ORDER BY i.leased_at DESC, 1 DESC
        LIMIT $8::int4
    )
)
SELECT u.id, u.account_id, u.enrollment_id, s.key AS step_key, u.run_no, u.channel, u.sender_id,
    u.to_address, 'dripd:' || (SELECT id FROM dripd.deployment) || ':'
        || coalesce(u.enrollment_id || ':' || u.run_no || ':' || s.key, u.id) AS idempotency_key,
    'unknown' AS state, u.attempt, f.provider, u.provider_id, u.segments, u.subject, u.leased_at,
    u.sent_at, NULL::timestamptz AS accepted_at, u.reason, a.key AS account_key,
    (extract(epoch FROM u.leased_at) * 1000)::int8 AS cursor_ms
FROM unknown AS u
JOIN dripd.account AS a ON a.id = u.account_id
LEFT JOIN dripd.version_step AS s
    ON s.account_id = u.account_id AND s.cv_id = u.cv_id AND s.step_no = u.step_no
LEFT JOIN dripd.sender AS f ON f.account_id = u.account_id AND f.id = u.sender_id
ORDER BY u.leased_at DESC, u.id DESC
LIMIT $8::int4;

-- name: read_delivery :one
--   $1 id          text
--   $2 enrollment  int8, NULL for an individual send
SELECT d.id, d.account_id, d.enrollment_id, d.step_key, d.run_no, d.channel, d.sender_id,
    d.to_address, d.idempotency_key, d.state, d.attempt, d.provider, d.provider_id, d.segments,
    d.subject, d.leased_at, d.sent_at, d.accepted_at, d.reason, a.key AS account_key
FROM dripd.delivery AS d
JOIN dripd.account AS a ON a.id = d.account_id
WHERE d.id = $1::text
    AND d.enrollment_id IS NOT DISTINCT FROM $2::int8
    AND ($2::int8 IS NULL OR d.account_id = (SELECT r.account_id FROM dripd.run AS r WHERE r.id = $2::int8));

-- name: resolve_delivery :one
-- What somebody found out about a message of unknown outcome.
--   $1 enrollment  int8
--   $2 seq         int4
--   $3 state       int2, 1 accepted or 2 failed
--   $4 reason      text, why it failed
-- locks: its step_log row
UPDATE dripd.step_log AS l
SET state = $3::int2, reason = CASE WHEN $3::int2 = 2 THEN $4::text END
FROM dripd.run AS r
JOIN dripd.campaign_version AS v ON v.account_id = r.account_id AND v.id = r.cv_id
WHERE r.id = $1::int8
    AND l.account_id = r.account_id
    AND l.enrollment_id = r.id
    AND l.seq = $2::int4
    AND l.state = 3
    AND l.channel > 0
RETURNING l.account_id, l.leased_at,
    l.channel = 1 AND coalesce(v.definition #>> '{policy,cap}', 'plan') = 'plan' AS counted;

-- name: is_tried_again :one
-- Is the message of unknown outcome being sent again at this moment? A lease that is about to is waited for, and a
-- later one passes it over until we are done.
--   $1 enrollment  int8
--   $2 seq         int4
-- locks: its due_step row
WITH held AS MATERIALIZED (
    SELECT d.claim_id
    FROM dripd.run AS r
    JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
    WHERE r.id = $1::int8
        AND d.seq = $2::int4
        AND d.flags & 2 <> 0
    FOR UPDATE OF d
)
SELECT coalesce(bool_or(claim_id IS NOT NULL), false) AS tried
FROM held;

-- name: resolve_individual :one
--   $1 id  $2 state  $3 why it failed
UPDATE dripd.individual_send AS i
SET state = $2::text,
    reason = CASE WHEN $2::text = 'failed' THEN $3::text END,
    accepted_at = CASE WHEN $2::text = 'accepted' THEN coalesce(i.sent_at, i.leased_at) END
WHERE i.id = $1::int8
    AND i.state = 'unknown'
RETURNING i.account_id;

-- name: free_cap :exec
-- A message that never left gives its place in the day of its lease back.
--   $1 account  $2 leased at
-- locks: the account's day
UPDATE dripd.account_day
SET used = greatest(used - 1, 0)
WHERE account_id = $1::int4
    AND starts_at <= $2::timestamptz
    AND ends_at > $2::timestamptz;

-- name: refund_failed :exec
-- What a message cost that never left: its own charge, and where its run is over, its part of that.
--   $1 account  $2 enrollment  $3 delivery
WITH own AS (
    INSERT INTO dripd.ledger (account_id, kind, amount, enrollment_id, step_key, delivery_id)
    SELECT l.account_id, 'refund', l.amount, l.enrollment_id, l.step_key, l.delivery_id
    FROM dripd.ledger AS l
    WHERE l.account_id = $1::int4
        AND l.enrollment_id = $2::int8
        AND l.kind = 'charge'
        AND l.delivery_id = $3::text
    ON CONFLICT DO NOTHING
)
SELECT dripd.refund_unsent($1::int4, $2::int8);

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
-- The runs of a group of list_dead, or of these ids, that are held by themselves, and whether a
-- retry of each is safe.
--   $1 account      int4, NULL = all
--   $2 group        text, NULL = any
--   $3 enrollments  int8[], NULL = any
SELECT r.account_id, r.id, r.contact_id, r.campaign_id, r.cv_id, r.status,
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
WHERE ($1::int4 IS NULL OR a.id = $1::int4)
    AND ($2::text IS NULL
        OR left(md5(concat_ws('/', a.key, c.key, s.key, r.hold_reason, last.reason)), 12) = $2::text)
    AND ($3::int8[] IS NULL OR r.id = ANY ($3::int8[]))
    AND r.status = 1
    AND r.hold_reason NOT IN ('approval', 'task')
ORDER BY r.id;
