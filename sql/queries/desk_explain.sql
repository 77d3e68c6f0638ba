-- name: read_waits :many
-- What a run waits for: of one enrollment, or every live run of a contact.
--   $1 account     int4
--   $2 contact     int8, NULL = any
--   $3 enrollment  int8, NULL = any
SELECT e.id AS enrollment_id, e.account_id, e.contact_id, e.campaign_key, e.status, e.end_reason, e.step_key,
    e.due_at, e.hold_reason, e.release_at, a.status AS account_status, a.subscription_active,
    a.timezone, a.send_window, c.status AS campaign_status, r.hold_reason AS own_hold,
    r.release_at AS own_release_at, d.step_no, d.seq, d.lane, d.flags & 4 <> 0 AS waits, l.calendar, l.zone, l.channel,
    (SELECT s.kind FROM dripd.version_step AS s
        WHERE s.account_id = r.account_id AND s.cv_id = r.cv_id AND s.step_no = d.step_no) AS kind,
    jsonb_path_query_first(v.definition, '$.**.steps[*] ? (@.key == $key)."on"', jsonb_build_object('key', e.step_key))
        #>> '{}' AS awaited,  -- the event of a wait_for
    (SELECT count(*) FROM dripd.version_step AS s
        WHERE s.account_id = r.account_id AND s.cv_id = r.cv_id)::int4 AS steps,
    p.reason AS park_reason, p.release_at AS park_release_at,
    y.cap - y.used - y.bulk AS cap_left, y.ends_at AS day_ends_at,
    v.definition -> 'policy' ->> 'cap' AS cap_policy, v.definition -> 'sender' AS senders,
    (SELECT dripd.now()) AS now_at
FROM dripd.enrollment AS e
JOIN dripd.account AS a ON a.id = e.account_id
JOIN dripd.run AS r ON r.account_id = e.account_id AND r.id = e.id
JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
JOIN dripd.campaign_version AS v ON v.account_id = r.account_id AND v.id = r.cv_id
LEFT JOIN dripd.due_step AS d
    ON d.account_id = r.account_id AND d.enrollment_id = r.id AND r.status = 1
LEFT JOIN dripd.lane AS l ON l.account_id = d.account_id AND l.lane = d.lane
LEFT JOIN LATERAL (
    SELECT k.reason, k.release_at
    FROM dripd.park AS k
    WHERE k.account_id = d.account_id AND k.lane IN (d.lane, -1)
    ORDER BY k.lane DESC
    LIMIT 1
) AS p ON d.lane >= 0
LEFT JOIN dripd.account_day AS y
    ON y.account_id = a.id
    AND y.starts_at <= (SELECT dripd.now())
    AND y.ends_at > (SELECT dripd.now())
WHERE ($1::int4 IS NULL OR e.account_id = $1::int4)
    AND ($2::int8 IS NULL OR (e.contact_id = $2::int8 AND r.status = 1))
    AND ($3::int8 IS NULL OR e.id = $3::int8)
ORDER BY e.id
LIMIT 1000;

-- name: read_queued :many
-- The latest requests that wait until their contact is free, and what it may be waiting for.
--   $1 account  int4
--   $2 contact  int8
SELECT q.id AS request_id, q.campaign_key, q.source, q.requested_by, q.inserted_at AS asked_at,
    v.definition
FROM dripd.enroll_request AS q
LEFT JOIN dripd.campaign AS c ON c.account_id = q.account_id AND c.key = q.campaign_key
LEFT JOIN dripd.campaign_version AS v ON v.account_id = c.account_id AND v.id = c.live_cv_id
WHERE q.account_id = $1::int4
    AND q.queued_for = $2::int8
    AND q.status = 'pending'
ORDER BY q.id DESC
LIMIT 100;

-- name: read_exclusive :many
-- The live runs that keep a contact busy.
--   $1 account  int4
--   $2 contact  int8
SELECT r.id AS enrollment_id, r.exclusive
FROM dripd.run AS r
WHERE r.account_id = $1::int4
    AND r.contact_id = $2::int8
    AND r.exclusive IS NOT NULL
ORDER BY r.id;

-- name: read_timeline :many
-- The journal of a contact's runs, what was refused it, and the events that came in about it, oldest first.
--   $1 account     int4
--   $2 contact     int8
--   $3 enrollment  int8, NULL = all
--   $4 offset      int4
--   $5 most        int4
WITH mine AS (
    SELECT r.id, r.cv_id, c.key AS campaign_key
    FROM dripd.run AS r
    JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
    WHERE r.account_id = $1::int4
        AND r.contact_id = $2::int8
        AND ($3::int8 IS NULL OR r.id = $3::int8)
)
SELECT t.at, t.kind, t.campaign_key, t.enrollment_id, t.step_key, t.detail
FROM (
    SELECT j.at, j.kind, mine.campaign_key, j.enrollment_id, j.detail ->> 'step_key' AS step_key,
        j.detail || coalesce(jsonb_strip_nulls(jsonb_build_object('name', s.name)), '{}') AS detail,
        CASE WHEN j.kind = 'accepted' THEN 0 WHEN j.kind IN ('completed', 'removed', 'terminated') THEN 2 ELSE 1 END
            AS rank,
        coalesce((j.detail ->> 'seq')::int8, 2147483647) AS seq
    FROM dripd.journal AS j
    JOIN mine ON mine.id = j.enrollment_id
    LEFT JOIN dripd.version_step AS s
        ON s.account_id = j.account_id AND s.cv_id = mine.cv_id AND s.key = j.detail ->> 'step_key'
    WHERE j.account_id = $1::int4
        AND j.enrollment_id = ANY (ARRAY(SELECT id FROM mine))
    UNION ALL
    SELECT g.at, g.kind, g.detail ->> 'campaign', NULL, NULL, g.detail, 1, 0
    FROM dripd.journal_log AS g
    WHERE g.account_id = $1::int4
        AND g.contact_id = $2::int8
        AND g.enrollment_id IS NULL
        AND $3::int8 IS NULL
    UNION ALL
    SELECT e.occurred_at, 'event', NULL, e.enrollment_id, NULL,
        jsonb_strip_nulls(jsonb_build_object('event', e.kind, 'id', e.id,
            'delivery_id', e.delivery_id, 'refused', e.refused_reason,
            'link', e.payload -> 'link', 'machine', e.payload -> 'machine')),
        1, coalesce((substring(e.delivery_id FROM '^\d{1,18}-(\d{1,9})$'))::int8, 0)
    FROM dripd.event_log AS e
    WHERE e.account_id = $1::int4
        AND e.contact_id = $2::int8
        AND e.kind IS DISTINCT FROM 'task_closed'  -- the journal says who closed it
        AND ($3::int8 IS NULL OR e.enrollment_id = $3::int8)
) AS t
ORDER BY t.at, coalesce(t.enrollment_id, 0), t.rank, t.seq, t.kind = 'event',
    CASE t.kind WHEN 'held' THEN 1 WHEN 'released' THEN 3 WHEN 'task_done' THEN 2 WHEN 'task_cancelled' THEN 2 ELSE 4 END,
    t.kind DESC,
    CASE t.kind WHEN 'event' THEN (t.detail ->> 'id')::int8 WHEN 'rejected' THEN (t.detail ->> 'request_id')::int8 END
OFFSET $4::int4
LIMIT $5::int4;

-- name: read_busy :one
-- A live run of the contact that sends on a channel, one that forbids individual messages first.
--   $1 account  $2 contact  $3 channel
SELECT c.key AS campaign_key, d.due_at AS next_send_at, v.definition -> 'policy' ->> 'individual' AS individual
FROM dripd.run AS r
JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
JOIN dripd.campaign_version AS v ON v.account_id = r.account_id AND v.id = r.cv_id
LEFT JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
WHERE r.account_id = $1::int4
    AND r.contact_id = $2::int8
    AND r.status = 1
    AND EXISTS (
        SELECT FROM dripd.version_step AS s
        WHERE s.account_id = r.account_id AND s.cv_id = r.cv_id AND s.kind = $3::text)
ORDER BY v.definition -> 'policy' ->> 'individual' = 'block' DESC NULLS LAST, d.due_at
LIMIT 1;
