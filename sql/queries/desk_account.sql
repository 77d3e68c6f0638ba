-- name: lock_key :exec
-- One maker of a thing at a time: two that set the same key take turns.
--   $1 what  text
-- locks: an advisory lock of this transaction
SELECT pg_advisory_xact_lock(7235, hashtext($1::text));

-- name: list_plans :many
-- The plans that an account may have.
SELECT key
FROM dripd.plan
ORDER BY key;

-- name: put_account :one
-- Make an account, or give it these values.
--   $1 key  $2 name  $3 plan  $4 timezone  $5 window  $6 rate  $7 subscription
--   $8 postal address  $9 writer  $10 prices
INSERT INTO dripd.account AS a (key, name, plan, timezone, send_window, rate,
    subscription_active, postal_address, writer, prices)
VALUES ($1::text, $2::text, $3::text, $4::text, $5::jsonb, $6::text, $7::boolean, $8::text,
    $9::text::name, $10::jsonb)
ON CONFLICT (key) DO UPDATE
SET name = excluded.name,
    plan = excluded.plan,
    timezone = excluded.timezone,
    send_window = excluded.send_window,
    rate = excluded.rate,
    subscription_active = excluded.subscription_active,
    postal_address = excluded.postal_address,
    writer = excluded.writer,
    prices = excluded.prices
RETURNING id, key, name, plan, timezone, send_window, rate, subscription_active, status,
    postal_address, writer::text AS writer, prices, created_at;

-- name: list_accounts :many
-- Accounts in the order in which they were made, with their cap and what has taken of it today.
--   $1 status  text, NULL = any
--   $2 after   int8, an id
--   $3 most    int4
SELECT a.id, a.key, a.name, a.plan, a.timezone, a.send_window, a.rate, a.subscription_active,
    a.status, a.postal_address, a.writer::text AS writer, a.prices, a.created_at,
    p.daily_email_cap AS cap, coalesce(d.used + d.bulk, 0) AS used
FROM dripd.account AS a
JOIN dripd.plan AS p ON p.key = a.plan
LEFT JOIN dripd.account_day AS d
    ON d.account_id = a.id
    AND d.starts_at <= (SELECT dripd.now())
    AND d.ends_at > (SELECT dripd.now())
WHERE ($1::text IS NULL OR a.status = $1::text)
    AND a.id > $2::int8
ORDER BY a.id
LIMIT $3::int4;

-- name: list_account_ids :many
-- Every account that is not closed.
SELECT id
FROM dripd.account
WHERE status <> 'closed'
ORDER BY id;

-- name: turn_accounts :many
-- Pause or resume; a closed account stays closed. The journal has it.
--   $1 accounts  int4[]
--   $2 status    text, active or paused
--   $3 actor     text
WITH turned AS (
    UPDATE dripd.account
    SET status = $2::text
    WHERE id = ANY ($1::int4[])
        AND status <> $2::text
        AND status <> 'closed'
    RETURNING id
), noted AS (
    INSERT INTO dripd.journal_log (actor, account_id, kind, detail)
    SELECT $3::text, id, CASE $2::text WHEN 'paused' THEN 'paused' ELSE 'resumed' END,
        '{"what": "account"}'
    FROM turned
)
SELECT id
FROM turned;

-- name: read_cap :one
-- The account's day at this instant, and what it has used of its cap.
--   $1 account  int4
SELECT p.daily_email_cap AS cap,
    coalesce(d.used + d.bulk, 0) AS used,
    coalesce(d.local_date, (dripd.now() AT TIME ZONE a.timezone)::date) AS local_date
FROM dripd.account AS a
JOIN dripd.plan AS p ON p.key = a.plan
LEFT JOIN dripd.account_day AS d
    ON d.account_id = a.id
    AND d.starts_at <= (SELECT dripd.now())
    AND d.ends_at > (SELECT dripd.now())
WHERE a.id = $1::int4;

-- name: count_holds :many
-- What is held in an account, and why: single holds, parked lanes, gates.
--   $1 account  int4
SELECT e.hold_reason AS reason, count(*)::int4 AS count, min(e.release_at) AS release_at
FROM dripd.enrollment AS e
WHERE e.account_id = $1::int4
    AND e.status = 'held'
GROUP BY e.hold_reason
ORDER BY 2 DESC, 1;

-- name: count_many_holds :many
-- The same of an account of many runs, up to 10,001 a reason and lane.
--   $1 account  int4
SELECT h.reason, sum(h.n)::int4 AS count, min(h.release_at) AS release_at
FROM (
    SELECT part.hold_reason AS reason, count(*) AS n, min(part.release_at) AS release_at
    FROM (
        SELECT hold_reason, release_at
        FROM dripd.run
        WHERE hold_reason IS NOT NULL AND status = 1 AND account_id = $1::int4
        LIMIT 10001
    ) AS part
    GROUP BY part.hold_reason
    UNION ALL
    SELECT coalesce(gate.reason, k.reason), due.n, CASE WHEN gate.reason IS NULL THEN k.release_at END
    FROM dripd.lane AS l
    JOIN dripd.account AS a ON a.id = l.account_id
    JOIN dripd.campaign AS c ON c.account_id = l.account_id AND c.id = l.campaign_id
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN a.status <> 'active' THEN 'account_paused'
            WHEN NOT a.subscription_active THEN 'no_subscription'
            WHEN c.status = 'paused' THEN 'paused'
            WHEN c.status IN ('inactive', 'archived') THEN 'inactive'
        END AS reason
    ) AS gate
    LEFT JOIN LATERAL (
        SELECT p.reason, p.release_at
        FROM dripd.park AS p
        WHERE p.account_id = l.account_id AND p.lane IN (l.lane, -1)
        ORDER BY p.lane
        LIMIT 1
    ) AS k ON true
    CROSS JOIN LATERAL (
        SELECT count(*) AS n
        FROM (
            SELECT FROM dripd.due_step AS s
            WHERE s.account_id = l.account_id AND s.lane = l.lane
                AND (gate.reason IS NOT NULL OR s.due_at <= (SELECT dripd.now()))
            LIMIT 10001
        ) AS bounded
    ) AS due
    WHERE l.account_id = $1::int4
        AND coalesce(gate.reason, k.reason) IS NOT NULL
) AS h
WHERE h.n > 0
GROUP BY h.reason
ORDER BY 2 DESC, 1;

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
    a.timezone, t.starts_at, t.used, t.next_at, w.all_weights
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
-- The live campaigns that leave from a sender by its address, and the weight of each one's pool.
--   $1 account  int4
--   $2 address  text
SELECT c.key AS campaign_key, (
        SELECT coalesce(sum(p.weight), 0)::int4
        FROM dripd.sender AS p
        WHERE p.account_id = c.account_id AND p.status = 'active' AND pool.senders ? p.address
    ) AS weights
FROM dripd.campaign AS c
JOIN dripd.campaign_version AS v ON v.account_id = c.account_id AND v.id = c.live_cv_id
CROSS JOIN LATERAL (
    SELECT CASE jsonb_typeof(v.definition -> 'sender')
        WHEN 'array' THEN v.definition -> 'sender'
        ELSE jsonb_build_array(v.definition -> 'sender') END AS senders
) AS pool
WHERE c.account_id = $1::int4
    AND c.status IN ('active', 'paused', 'draining')
    AND pool.senders ? $2::text
ORDER BY c.key
LIMIT 20;

-- name: open_sender_lanes :exec
-- What a sender had shut is asked anew: whether it still is, is found out at the next lease.
--   $1 account int
DELETE FROM dripd.park
WHERE account_id = $1::int4
    AND reason IN ('no_sender', 'rate', 'cap', 'breaker');

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

-- name: find_operator :one
-- An operator of an account.
--   $1 account  int4
--   $2 name     text
SELECT account_id, name, role, boards
FROM dripd.operator
WHERE account_id = $1::int4
    AND name = $2::text;

-- name: put_operator :one
-- Make an operator, or give him these values.
--   $1 account  $2 name  $3 role  $4 boards
INSERT INTO dripd.operator AS o (account_id, name, role, boards)
VALUES ($1::int4, $2::text, $3::text, $4::text[])
ON CONFLICT (account_id, name) DO UPDATE
SET role = excluded.role,
    boards = excluded.boards
RETURNING account_id, name, role, boards;

-- name: list_operators :many
-- Operators by account and name.
--   $1 account        int4, NULL = all
--   $2 after account  int4
--   $3 after name     text
--   $4 most           int4
SELECT o.account_id, o.name, o.role, o.boards, a.key AS account_key
FROM dripd.operator AS o
JOIN dripd.account AS a ON a.id = o.account_id
WHERE ($1::int4 IS NULL OR o.account_id = $1::int4)
    AND (o.account_id, o.name) > ($2::int4, $3::text)
ORDER BY o.account_id, o.name
LIMIT $4::int4;

-- name: remove_operator :exec
--   $1 account  int4
--   $2 name     text
DELETE FROM dripd.operator
WHERE account_id = $1::int4
    AND name = $2::text;
