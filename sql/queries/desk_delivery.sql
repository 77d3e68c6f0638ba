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
