-- name: put_sender :one
-- Make a sender, or give it these values.
--   $1 account  $2 address  $3 channel  $4 provider  $5 owner  $6 shared  $7 rate
--   $8 daily limit  $9 warmup  $10 gap  $11 weight
INSERT INTO dripd.sender AS s (account_id, address, channel, provider, owner, shared, rate,
    daily_limit, warmup, gap, weight)
VALUES ($1::int4, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::int4, $9::text,
    $10::text, $11::int4)
ON CONFLICT (account_id, channel, address) DO UPDATE
SET provider = excluded.provider,
    owner = excluded.owner,
    shared = excluded.shared,
    rate = excluded.rate,
    daily_limit = excluded.daily_limit,
    warmup = excluded.warmup,
    gap = excluded.gap,
    weight = excluded.weight
RETURNING account_id, id, address, channel, provider, owner, shared, rate, daily_limit, warmup,
    gap, weight, status, pause_reason, created_at;

-- name: list_senders :many
-- Senders in the order in which they were made, with what has left of the day and their pool's
-- weight: all that are active in the account and channel.
--   $1 account  int4, NULL = all
--   $2 channel  text, NULL = any
--   $3 after    int8, an id
--   $4 most     int4
SELECT s.account_id, s.id, s.address, s.channel, s.provider, s.owner, s.shared, s.rate,
    s.daily_limit, s.warmup, s.gap, s.weight, s.status, s.pause_reason, s.created_at, a.key AS account_key,
    a.rate AS account_rate, a.timezone, t.starts_at, t.used, t.next_at, w.all_weights
FROM dripd.sender AS s
JOIN dripd.account AS a ON a.id = s.account_id
LEFT JOIN dripd.sender_turn AS t ON t.account_id = s.account_id AND t.sender_id = s.id
CROSS JOIN LATERAL (
    SELECT coalesce(sum(p.weight), 0)::int4 AS all_weights
    FROM dripd.sender AS p
    WHERE p.account_id = s.account_id AND p.channel = s.channel AND p.status = 'active'
) AS w
WHERE ($1::int4 IS NULL OR s.account_id = $1::int4)
    AND ($2::text IS NULL OR s.channel = $2::text)
    AND s.id > $3::int8
ORDER BY s.id
LIMIT $4::int4;

-- name: senders_of :many
-- Every sender of an account and channel, by id.
--   $1 account  int4
--   $2 channel  text
SELECT id, address, status, pause_reason
FROM dripd.sender
WHERE account_id = $1::int4
    AND channel = $2::text
ORDER BY id
LIMIT 100;

-- name: list_pools :many
-- The live campaigns that leave from a sender by its address, however they write it, and the weight of each one's pool.
--   $1 account  int4
--   $2 address  text
SELECT c.key AS campaign_key, (
        SELECT coalesce(sum(p.weight), 0)::int4
        FROM dripd.sender AS p
        WHERE p.account_id = c.account_id AND p.status = 'active' AND dripd.address_form(p.address) = ANY (pool.forms)
    ) AS weights
FROM dripd.campaign AS c
JOIN dripd.campaign_version AS v ON v.account_id = c.account_id AND v.id = c.live_cv_id
CROSS JOIN LATERAL (
    SELECT array_agg(dripd.address_form(w.address)) AS forms
    FROM jsonb_path_query(v.definition, 'lax $.sender[*]') AS s (sender)
    CROSS JOIN LATERAL string_to_table(s.sender #>> '{}', ',') AS w (address)
) AS pool
WHERE c.account_id = $1::int4
    AND c.status IN ('active', 'paused', 'draining')
    AND dripd.address_form($2::text) = ANY (pool.forms)
ORDER BY c.key
LIMIT 20;

-- name: count_waiting :one
-- What waits for a sender: steps of the live campaigns that leave from it, by its address or because they name none,
-- that are due, and that come up within an hour; of the latest 200 campaigns, and of either the first 1,001 steps.
--   $1 account  int4
--   $2 address  text
--   $3 channel  text
WITH lanes AS (
    SELECT l.account_id, l.lane
    FROM (
        SELECT account_id, id, live_cv_id
        FROM dripd.campaign
        WHERE account_id = $1::int4
            AND status IN ('active', 'paused', 'draining')
        ORDER BY id DESC
        LIMIT 200
    ) AS c
    JOIN dripd.campaign_version AS v ON v.account_id = c.account_id AND v.id = c.live_cv_id
    JOIN dripd.lane AS l ON l.account_id = c.account_id AND l.campaign_id = c.id AND l.channel = $3::text
    WHERE v.definition -> 'sender' IS NULL OR EXISTS (
        SELECT
        FROM jsonb_path_query(v.definition, 'lax $.sender[*]') AS s (sender)
        CROSS JOIN LATERAL string_to_table(s.sender #>> '{}', ',') AS w (address)
        WHERE dripd.address_form(w.address) = dripd.address_form($2::text))
)
SELECT
    (SELECT count(*)
        FROM (
            SELECT
            FROM lanes AS l
            CROSS JOIN LATERAL (
                SELECT FROM dripd.due_step AS s
                WHERE s.account_id = l.account_id AND s.lane = l.lane
                    AND s.due_at <= (SELECT dripd.now())
                LIMIT 1001
            ) AS due
            LIMIT 1001
        ) AS counted)::int4 AS due,
    (SELECT count(*)
        FROM (
            SELECT
            FROM lanes AS l
            CROSS JOIN LATERAL (
                SELECT FROM dripd.due_step AS s
                WHERE s.account_id = l.account_id AND s.lane = l.lane
                    AND s.due_at > (SELECT dripd.now())
                    AND s.due_at <= (SELECT dripd.now()) + interval '1 hour'
                LIMIT 1001
            ) AS due
            LIMIT 1001
        ) AS counted)::int4 AS next_hour;

-- name: turn_sender :exec
-- Pause or resume; one that is resumed is judged anew.
--   $1 account  int4
--   $2 id       int4
--   $3 status   text, active or paused
UPDATE dripd.sender
SET status = $3::text,
    pause_reason = NULL,
    judged_from = CASE WHEN $3::text = 'active' THEN (SELECT dripd.now()) ELSE judged_from END
WHERE account_id = $1::int4
    AND id = $2::int4
    AND status <> $3::text;

-- name: probe_sender :exec
-- Have it and its provider tried before their time: every daemon that reads it anew does.
--   $1 account  int4
--   $2 id       int4
UPDATE dripd.sender
SET probes = probes + 1
WHERE account_id = $1::int4
    AND id = $2::int4;
