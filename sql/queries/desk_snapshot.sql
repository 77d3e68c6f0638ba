-- name: snapshot_account :one
--   $1 account
SELECT a.id, a.key, a.name, a.plan, a.timezone, a.send_window, a.rate, a.subscription_active, a.status,
    a.postal_address, a.prices, p.daily_email_cap AS cap, p.action_quota AS quota,
    coalesce((SELECT u.balance FROM dripd.purse AS u WHERE u.account_id = a.id), 0) AS balance
FROM dripd.account AS a
JOIN dripd.plan AS p ON p.key = a.plan
WHERE a.id = $1::int4;

-- name: snapshot_due :many
-- What waits in an account: one run, and of every lane what comes up first.
--   $1 account  $2 most a lane  $3 up to timestamptz  $4 enrollment, NULL = none
WITH picked AS (
    SELECT w.enrollment_id
    FROM dripd.lane AS l
    CROSS JOIN LATERAL (
        SELECT d.enrollment_id
        FROM dripd.due_step AS d
        WHERE d.account_id = l.account_id AND d.lane = l.lane AND d.due_at <= $3::timestamptz AND d.attempt >= 0
        ORDER BY d.due_at
        LIMIT $2::int4
    ) AS w
    WHERE l.account_id = $1::int4
    UNION
    SELECT $4::int8 WHERE $4::int8 IS NOT NULL
)
SELECT d.enrollment_id, d.contact_id, d.cv_id, d.run_no, d.due_at, d.lane, d.step_no, d.seq, d.attempt, d.flags,
    r.campaign_id, r.started_at, r.reentry, r.exclusive, r.owner, r.source, r.conversation_ref, r.vars, r.paid,
    r.frozen, r.hold_reason, r.release_at, r.due_was,
    k.external_id, k.email, k.phone, k.timezone, k.owner AS contact_owner, k.service_owner, k.attrs
FROM picked AS w
JOIN dripd.due_step AS d ON d.account_id = $1::int4 AND d.enrollment_id = w.enrollment_id
JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id AND r.status = 1
JOIN dripd.contact AS k ON k.account_id = d.account_id AND k.id = d.contact_id
ORDER BY d.enrollment_id;

-- name: snapshot_turns :many
-- What the account's senders have sent of their day, and when they may again.
--   $1 account
SELECT t.sender_id, t.starts_at, t.used, t.next_at
FROM dripd.sender_turn AS t
WHERE t.account_id = $1::int4;

-- name: snapshot_contact :one
--   $1 account  $2 contact
SELECT k.id, k.external_id, k.email, k.phone, k.timezone, k.owner, k.service_owner, k.attrs
FROM dripd.contact AS k
WHERE k.account_id = $1::int4
    AND k.id = $2::int8;

-- name: snapshot_marks :many
-- The tags of a contact (list NULL), and its lists.
--   $1 account  $2 contact
SELECT t.tag, NULL::int8 AS list_id, NULL::text AS list_key
FROM dripd.contact_tag AS t
WHERE t.account_id = $1::int4 AND t.contact_id = $2::int8
UNION ALL
SELECT NULL, l.id, l.key
FROM dripd.list_member AS m
JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
WHERE m.account_id = $1::int4 AND m.contact_id = $2::int8;

-- name: snapshot_suppressions :many
-- Standing orders about addresses.
--   $1 account  $2 addresses text[]
SELECT s.account_id, s.channel, s.address, s.reason, s.expires_at
FROM (SELECT DISTINCT dripd.address_hash(k.address) AS h FROM unnest($2::text[]) AS k (address)) AS k
JOIN dripd.suppression AS s ON s.address_h = k.h AND s.account_id IN ($1::int4, 0)
WHERE s.address IS NOT NULL;

-- name: snapshot_versions :many
-- Campaigns with the versions that are asked for.
--   $1 account  $2 version ids int4[]
SELECT v.id AS cv_id, v.campaign_id, v.campaign_key, v.version, v.definition, v.shared, c.name,
    c.status, c.live_cv_id, c.owner,
    ARRAY(SELECT s.key FROM dripd.version_step AS s
        WHERE s.account_id = v.account_id AND s.cv_id = v.id ORDER BY s.step_no) AS keys,
    ARRAY(SELECT s.kind FROM dripd.version_step AS s
        WHERE s.account_id = v.account_id AND s.cv_id = v.id ORDER BY s.step_no) AS kinds
FROM dripd.campaign_version AS v
JOIN dripd.campaign AS c ON c.account_id = v.account_id AND c.id = v.campaign_id
WHERE v.account_id = $1::int4
    AND v.id = ANY ($2::int4[])
ORDER BY v.id;

-- name: snapshot_days :many
--   $1 account
SELECT local_date, cap, used, bulk, individual, internal, starts_at, ends_at, held
FROM dripd.account_day
WHERE account_id = $1::int4
    AND ends_at > (SELECT dripd.now());

-- name: snapshot_lanes :many
--   $1 account
SELECT l.lane, l.campaign_id, l.class, l.channel, l.calendar, l.zone, p.reason, p.release_at
FROM dripd.lane AS l
LEFT JOIN dripd.park AS p ON p.account_id = l.account_id AND p.lane = l.lane
WHERE l.account_id = $1::int4
ORDER BY l.lane;

-- name: connector_keys :one
-- Which outside servers steps may call; where they are does not matter to who only plays.
--   $1 account int4
SELECT ARRAY(SELECT key FROM dripd.connector WHERE account_id = $1::int4) AS keys;

-- name: snapshot_templates :many
-- The templates that versions use.
--   $1 account int4  $2 keys text[]
SELECT key, subject, text, html FROM dripd.template WHERE account_id = $1::int4 AND key = ANY ($2::text[]);
