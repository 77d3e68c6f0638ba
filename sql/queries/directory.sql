-- name: account_ids :many
-- The next accounts by id, for a reader that goes round.
--   $1 after  int  $2 how many  int
SELECT id FROM dripd.account WHERE id > $1::int4 ORDER BY id LIMIT $2::int4;

-- name: read_accounts :many
-- Accounts with the cap of their plan.
--   $1 accounts  int[]  which, NULL = all
SELECT a.id, a.key, a.timezone, p.daily_email_cap AS cap, a.send_window::text AS send_window, a.rate, a.status,
    a.subscription_active, a.postal_address, a.prices::text AS prices, p.action_quota,
    ARRAY(SELECT k.key FROM dripd.connector AS k WHERE k.account_id = a.id) AS connectors,
    (SELECT coalesce(md5(string_agg(t.hash, '' ORDER BY t.key)), '')
        FROM dripd.template AS t WHERE t.account_id = a.id) AS templates
FROM dripd.account AS a
JOIN dripd.plan AS p ON p.key = a.plan
WHERE $1::int4[] IS NULL OR a.id = ANY ($1::int4[]);

-- name: read_senders :many
--   $1 accounts  int[]  which, NULL = all
SELECT id, account_id, address, channel, provider, rate, daily_limit, status, owner, shared,
    warmup, gap, pause_reason, judged_from, weight, probes
FROM dripd.sender
WHERE $1::int4[] IS NULL OR account_id = ANY ($1::int4[])
ORDER BY account_id, id;

-- name: read_campaigns :many
--   $1 accounts  int[]  which, NULL = all
SELECT id, account_id, key, status, live_cv_id, owner
FROM dripd.campaign
WHERE $1::int4[] IS NULL OR account_id = ANY ($1::int4[]);

-- name: read_own_standstills :many
-- When accounts and campaigns were paused, and are not any more; when senders were, are, or failed.
--   $1 accounts  int[]  which, NULL = all
SELECT account_id, from_at, until_at, campaign_id, sender_id
FROM dripd.standstill
WHERE account_id > 0 AND (until_at < 'infinity' OR sender_id > 0) AND ($1::int4[] IS NULL OR account_id = ANY ($1::int4[]))
ORDER BY account_id, from_at;

-- name: read_triggers :many
-- The triggers of campaigns that accept enrollments.
--   $1 accounts  int[]  which, NULL = all
SELECT t.account_id, t.id, t.campaign_id, t.campaign_key, t.kind, t.match::text AS match, t.after_event_id, t.after_contact_id
FROM dripd.campaign_trigger AS t
WHERE $1::int4[] IS NULL OR t.account_id = ANY ($1::int4[])
ORDER BY t.account_id, t.id;

-- name: read_versions :many
-- Versions with the account's templates that they use: as at publishing, and as they stand now; and with its declared
-- fields, those of companies as `company.KEY`.
--   $1 cv_ids  int[]
SELECT v.id AS cv_id, v.account_id, v.campaign_id, v.campaign_key, c.owner, v.version,
    v.definition::text AS definition, v.shared::text AS shared,
    (SELECT coalesce(jsonb_object_agg(t.key, jsonb_build_object('subject', t.subject, 'text', t.text, 'html', t.html)), '{}')
        FROM dripd.template AS t
        WHERE t.account_id = v.account_id AND t.key IN (SELECT jsonb_object_keys(v.shared)))::text AS current,
    (SELECT coalesce(jsonb_object_agg(CASE f.target WHEN 'company' THEN 'company.' ELSE '' END || f.key, f.type), '{}')
        FROM dripd.field AS f
        WHERE f.account_id = v.account_id)::text AS types
FROM dripd.campaign_version AS v
JOIN dripd.campaign AS c ON c.account_id = v.account_id AND c.id = v.campaign_id
WHERE v.id = ANY ($1::int4[]);

-- name: read_attachment :one
-- A file that is there in full.
--   $1 account int4  $2 sha256 text
SELECT string_agg(data, ''::bytea ORDER BY part) AS data
FROM dripd.attachment
WHERE account_id = $1::int4 AND sha256 = $2::text
HAVING sum(octet_length(data)) = max(size);

-- name: read_lanes :many
--   $1 accounts  int[]  which, NULL = all
SELECT account_id, lane, campaign_id, class, channel, calendar, zone
FROM dripd.lane
WHERE $1::int4[] IS NULL OR account_id = ANY ($1::int4[]);

-- name: lock_lanes :exec
-- One maker of lanes per account at a time.
--   $1 account  int
-- locks: an advisory lock of this transaction
SELECT pg_advisory_xact_lock(7234, $1::int4);

-- name: make_lane :one
-- The number of a lane, made if it is not there; under lock_lanes.
--   $1 account int  $2 campaign int  $3 class int2  $4 channel text  $5 calendar text  $6 zone text
WITH found AS (
    SELECT lane FROM dripd.lane
    WHERE account_id = $1::int4 AND campaign_id = $2::int4 AND class = $3::int2 AND channel = $4::text
        AND calendar = $5::text AND zone = $6::text
), made AS (
    INSERT INTO dripd.lane (account_id, lane, campaign_id, class, channel, calendar, zone)
    SELECT $1::int4, coalesce((SELECT max(lane) + 1 FROM dripd.lane WHERE account_id = $1::int4), 0)::int2,
        $2::int4, $3::int2, $4::text, $5::text, $6::text
    WHERE NOT EXISTS (SELECT FROM found)
    RETURNING lane
)
SELECT lane FROM found UNION ALL SELECT lane FROM made;

-- name: read_parks :many
--   $1 accounts  int[]  which, NULL = all
SELECT account_id, lane, reason, release_at
FROM dripd.park
WHERE $1::int4[] IS NULL OR account_id = ANY ($1::int4[]);

-- name: count_sent :many
-- How many messages have left from senders since an instant: once a sender and local day.
--   $1 account int  $2 senders int[]  $3 since timestamptz
SELECT l.sender_id, count(*)::int4 AS n
FROM dripd.step_log AS l
WHERE l.account_id = $1::int4
    AND l.at >= $3::timestamptz
    AND l.sender_id = ANY ($2::int4[])
    AND l.state IN (1, 3)
GROUP BY l.sender_id;

-- name: make_turns :exec
-- Rows of senders whose messages are counted for the first time.
--   $1 accounts int[]  $2 senders int[]
INSERT INTO dripd.sender_turn (account_id, sender_id)
SELECT DISTINCT k.a, k.s
FROM unnest($1::int4[], $2::int4[]) AS k (a, s)
ORDER BY k.a, k.s
ON CONFLICT (account_id, sender_id) DO NOTHING;

-- name: take_turns :many
-- How many of the messages that are about to leave may, whichever daemon they are with.
-- A day that began later than the asked one stands: a daemon that is behind counts into it.
--   $1 accounts int[]  $2 senders int[]  $3 messages int[]
--   $4 starts of the local day timestamptz[], NULL = no day is counted
--   $5 what left in the day, where nobody has counted yet int[]  $6 the day's most int[]
--   $7 gap behind the last message int[], ms, NULL = none
-- locks: sender_turn rows, by primary key
WITH asked AS (
    SELECT k.*
    FROM unnest($1::int4[], $2::int4[], $3::int4[], $4::timestamptz[], $5::int4[], $6::int4[], $7::int4[])
        AS k (account_id, sender_id, n, starts_at, base, most, gap)
), standing AS (
    SELECT a.account_id, a.sender_id, a.n, a.most, a.gap, t.next_at,
        greatest(t.starts_at, a.starts_at) AS starts_at,
        CASE WHEN t.starts_at >= a.starts_at THEN t.used ELSE a.base END AS used
    FROM dripd.sender_turn AS t
    JOIN asked AS a ON a.account_id = t.account_id
        AND a.sender_id = t.sender_id
    ORDER BY t.account_id, t.sender_id
    FOR UPDATE OF t
), granted AS (
    SELECT s.*,
        CASE WHEN s.gap IS NOT NULL AND s.next_at > (SELECT dripd.now()) THEN 0
            WHEN s.most IS NULL THEN s.n
            ELSE least(s.n, greatest(s.most - s.used, 0)) END AS granted
    FROM standing AS s
)
UPDATE dripd.sender_turn AS t
SET starts_at = g.starts_at,
    used = g.used + g.granted,
    next_at = CASE WHEN g.granted > 0 AND g.gap IS NOT NULL
        THEN (SELECT dripd.now()) + g.gap * interval '1 ms'
        ELSE t.next_at END
FROM granted AS g
WHERE t.account_id = g.account_id
    AND t.sender_id = g.sender_id
RETURNING t.account_id, t.sender_id, g.granted, t.next_at;

-- name: return_turns :exec
-- Messages that had a turn were not taken: their day has room again, and who did not even try
-- keeps no gap.
--   $1 accounts int[]  $2 senders int[]  $3 starts of the local day timestamptz[]
--   $4 messages int[]  $5 whether the gap is not to be kept bool[]
-- locks: sender_turn rows, by primary key
WITH given AS (
    SELECT t.account_id, t.sender_id, k.n, k.starts_at, k.reopens
    FROM unnest($1::int4[], $2::int4[], $3::timestamptz[], $4::int4[], $5::bool[])
        AS k (account_id, sender_id, starts_at, n, reopens)
    JOIN dripd.sender_turn AS t ON t.account_id = k.account_id
        AND t.sender_id = k.sender_id
    ORDER BY t.account_id, t.sender_id
    FOR UPDATE OF t
)
UPDATE dripd.sender_turn AS t
SET used = CASE WHEN t.starts_at = g.starts_at THEN greatest(t.used - g.n, 0) ELSE t.used END,
    next_at = CASE WHEN g.reopens THEN NULL ELSE t.next_at END
FROM given AS g
WHERE t.account_id = g.account_id
    AND t.sender_id = g.sender_id;

-- name: park :exec
--   $1 accounts int[]  $2 lanes int2[]  $3 reasons text[]  $4 release instants timestamptz[]
INSERT INTO dripd.park (account_id, lane, reason, release_at)
SELECT DISTINCT ON (k.a, k.l) k.a, k.l, k.r, k.until
FROM unnest($1::int4[], $2::int2[], $3::text[], $4::timestamptz[]) AS k (a, l, r, until)
ORDER BY k.a, k.l
ON CONFLICT (account_id, lane) DO UPDATE SET reason = excluded.reason, release_at = excluded.release_at;

-- name: unpark :exec
--   $1 accounts int[]  $2 lanes int2[]
DELETE FROM dripd.park AS p
USING unnest($1::int4[], $2::int2[]) AS k (a, l)
WHERE p.account_id = k.a AND p.lane = k.l;

-- name: unpark_reason :many
-- A refund or a new plan opens what the cap had closed.
--   $1 accounts int[]  $2 reason text
DELETE FROM dripd.park
WHERE account_id = ANY ($1::int4[]) AND reason = $2::text
RETURNING account_id, lane;

-- name: make_days :many
-- Day rows that are not there yet.
--   $1 accounts int[]  $2 dates date[]  $3 caps int[]  $4 starts timestamptz[]  $5 ends timestamptz[]
INSERT INTO dripd.account_day (account_id, local_date, cap, starts_at, ends_at)
SELECT k.a, k.d, k.cap, k.s, k.e
FROM unnest($1::int4[], $2::date[], $3::int4[], $4::timestamptz[], $5::timestamptz[]) AS k (a, d, cap, s, e)
ORDER BY k.a, k.d
ON CONFLICT DO NOTHING
RETURNING account_id;

-- name: odd_days :many
-- Accounts of which a day row that is not over overlaps a wanted day without being it: their zone has changed.
--   $1 accounts int[]  $2 dates date[]  $3 starts timestamptz[]  $4 ends timestamptz[]
-- hot: three probes of account_day's primary key a wanted day; OFFSET 0 keeps the planner from turning it round
SELECT DISTINCT k.a AS account_id
FROM unnest($1::int4[], $2::date[], $3::timestamptz[], $4::timestamptz[]) AS k (a, d, s, e)
CROSS JOIN LATERAL (
    SELECT FROM dripd.account_day AS ad
    WHERE ad.account_id = k.a AND ad.local_date BETWEEN k.d - 1 AND k.d + 1
        AND ad.ends_at > (SELECT dripd.now()) AND ad.starts_at < k.e AND ad.ends_at > k.s
        AND (ad.local_date, ad.starts_at, ad.ends_at) <> (k.d, k.s, k.e)
    OFFSET 0
) AS odd
ORDER BY k.a;

-- name: refresh_gates :exec
--   $1 accounts int[]
SELECT dripd.refresh_gates($1::int4[]);

-- name: recap_days :many
-- A new plan in the middle of the day: what remains is the new cap less what was used.
--   $1 accounts int[]  $2 dates date[]  $3 caps int[]
UPDATE dripd.account_day AS ad
SET cap = k.cap
FROM unnest($1::int4[], $2::date[], $3::int4[]) AS k (a, d, cap)
WHERE ad.account_id = k.a AND ad.local_date = k.d AND ad.cap <> k.cap
RETURNING ad.account_id;

-- name: lock_days :many
-- The day rows of an account that are not over, for a change of its zone.
--   $1 account int
-- locks: its account_day rows
SELECT local_date, cap, used, bulk, starts_at, ends_at
FROM dripd.account_day
WHERE account_id = $1::int4 AND ends_at > (SELECT dripd.now())
ORDER BY local_date
FOR UPDATE;

-- name: end_day :exec
--   $1 account int  $2 date  $3 ends timestamptz
UPDATE dripd.account_day SET ends_at = $3::timestamptz
WHERE account_id = $1::int4 AND local_date = $2::date;

-- name: rezone_day :exec
-- The day row of the new zone starts with what the old one had used.
--   $1 account int  $2 date  $3 cap int  $4 starts timestamptz  $5 ends timestamptz  $6 used int  $7 bulk int
INSERT INTO dripd.account_day AS ad (account_id, local_date, cap, starts_at, ends_at, used, bulk)
VALUES ($1::int4, $2::date, $3::int4, $4::timestamptz, $5::timestamptz, $6::int4, $7::int4)
ON CONFLICT (account_id, local_date) DO UPDATE
SET starts_at = excluded.starts_at, ends_at = excluded.ends_at, used = excluded.used, bulk = excluded.bulk;
