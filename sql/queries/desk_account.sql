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

-- name: has_role :one
-- Is there a role of that name?
--   $1 name
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text);

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

-- name: open_sender_lanes :exec
-- What a sender had shut is asked anew: whether it still is, is found out at the next lease.
--   $1 account int
DELETE FROM dripd.park
WHERE account_id = $1::int4
    AND reason IN ('no_sender', 'rate', 'cap', 'breaker');

-- name: list_backlogs :many
-- How many steps of these accounts are due and not leased, up to 1,001 each.
--   $1 accounts  int4[]
SELECT a.id AS account_id, due.n
FROM unnest($1::int4[]) AS a (id)
CROSS JOIN LATERAL (
    SELECT count(*)::int4 AS n
    FROM (
        SELECT FROM dripd.lane AS l
        JOIN dripd.due_step AS s ON s.account_id = l.account_id AND s.lane = l.lane
        WHERE l.account_id = a.id
            AND s.due_at <= (SELECT dripd.now())
            AND s.claim_id IS NULL
        LIMIT 1001
    ) AS bounded
) AS due;

-- name: forgive_senders :exec
-- An account that is resumed is judged anew, and each of its senders.
--   $1 accounts int[]
UPDATE dripd.sender
SET judged_from = (SELECT dripd.now())
WHERE account_id = ANY ($1::int4[]);

-- name: read_balance :one
--   $1 account  int4
SELECT coalesce((SELECT balance FROM dripd.purse WHERE account_id = $1::int4), 0) AS balance;
