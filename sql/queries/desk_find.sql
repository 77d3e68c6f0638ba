-- name: read_now :one
-- The deployment's instant.
SELECT dripd.now() AS now;

-- name: write_audit :one
-- Who did what; written in the transaction of the deed itself. No row: this request id of this
-- user has had its effect, here or on another daemon.
--   $1 node  $2 uid  $3 user  $4 role  $5 method  $6 account  $7 target  $8 as
--   $9 request id  $10 reason  $11 detail  $12 result
INSERT INTO dripd.admin_audit (node, uid, "user", role, method, account_id, target, as_name,
    request_id, reason, detail, result)
VALUES ($1::text, $2::int4, $3::text, $4::text, $5::text, $6::int4, $7::text, $8::text,
    $9::text, $10::text, $11::jsonb, $12::text)
ON CONFLICT (uid, request_id) WHERE request_id IS NOT NULL DO NOTHING
RETURNING id;

-- name: find_viewed_account :one
-- An account among $1 in which the operator $2 may only look.
--   $1 accounts  int4[]
--   $2 operator  text
SELECT a.id, a.key
FROM dripd.operator AS o
JOIN dripd.account AS a ON a.id = o.account_id
WHERE o.account_id = ANY ($1::int4[])
    AND o.name = $2::text
    AND o.role = 'viewer'
LIMIT 1;

-- name: find_account :one
-- The account of a key.
--   $1 key  text
SELECT id, key, name, plan, timezone, send_window, rate, subscription_active, status,
    postal_address, writer::text AS writer, prices, created_at
FROM dripd.account
WHERE key = $1::text;

-- name: list_account_keys :many
-- Keys to suggest.
SELECT key
FROM dripd.account
ORDER BY id
LIMIT 1000;

-- name: find_campaigns :many
-- The campaigns of a key; $2 NULL = in every account.
--   $1 key      text
--   $2 account  int4
SELECT c.account_id, c.id, c.key, c.name, c.goal_text, c.status, c.live_version, c.live_cv_id,
    c.draft, c.has_draft, c.owner, c.board, c.pause_mode, c.created_at, a.key AS account_key
FROM dripd.campaign AS c
JOIN dripd.account AS a ON a.id = c.account_id
WHERE c.key = $1::text
    AND ($2::int4 IS NULL OR c.account_id = $2::int4)
ORDER BY c.account_id
LIMIT 10;

-- name: lock_campaign :one
-- A campaign's row as it is now, kept as it is until we commit.
--   $1 account  int4
--   $2 id       int4
-- locks: the campaign row, against publish, life-cycle commands and admit (FOR SHARE)
SELECT c.account_id, c.id, c.key, c.name, c.goal_text, c.status, c.live_version, c.live_cv_id,
    c.draft, c.has_draft, c.owner, c.board, c.pause_mode, c.created_at, a.key AS account_key
FROM dripd.campaign AS c
JOIN dripd.account AS a ON a.id = c.account_id
WHERE c.account_id = $1::int4
    AND c.id = $2::int4
FOR UPDATE OF c;

-- name: list_campaign_keys :many
-- Keys to suggest.
--   $1 account  int4, NULL = all
SELECT key
FROM dripd.campaign
WHERE $1::int4 IS NULL OR account_id = $1::int4
LIMIT 1000;

-- name: find_lists :many
-- The lists of a key; $2 NULL = in every account.
--   $1 key      text
--   $2 account  int4
SELECT l.account_id, l.id, l.key, l.name, l.kind, l.is_static, l.created_at,
    a.key AS account_key
FROM dripd.contact_list AS l
JOIN dripd.account AS a ON a.id = l.account_id
WHERE l.key = $1::text
    AND ($2::int4 IS NULL OR l.account_id = $2::int4)
ORDER BY l.account_id
LIMIT 10;

-- name: list_list_keys :many
-- Keys to suggest.
--   $1 account  int4, NULL = all
SELECT key
FROM dripd.contact_list
WHERE $1::int4 IS NULL OR account_id = $1::int4
LIMIT 1000;

-- name: find_senders :many
-- The senders of an address; $2 and $3 NULL = any account, any channel.
--   $1 address  text
--   $2 account  int4
--   $3 channel  text
SELECT s.account_id, s.id, s.address, s.channel, s.provider, s.owner, s.shared, s.rate,
    s.daily_limit, s.warmup, s.gap, s.weight, s.status, s.pause_reason, s.created_at, a.key AS account_key
FROM dripd.sender AS s
JOIN dripd.account AS a ON a.id = s.account_id
WHERE s.address = $1::text
    AND ($2::int4 IS NULL OR s.account_id = $2::int4)
    AND ($3::text IS NULL OR s.channel = $3::text)
ORDER BY s.account_id, s.id
LIMIT 10;

-- name: list_sender_keys :many
-- Addresses to suggest.
--   $1 account  int4, NULL = all
SELECT address AS key
FROM dripd.sender
WHERE $1::int4 IS NULL OR account_id = $1::int4
LIMIT 1000;

-- name: find_contacts :many
-- Contacts by external_id; $2 NULL = in every account.
--   $1 external ids  text[]
--   $2 account       int4
SELECT c.account_id, c.id, c.external_id, c.email, c.phone, c.timezone, c.owner,
    c.service_owner, c.company_id, c.attrs, c.created_at, c.erased_at, a.key AS account_key
FROM dripd.contact AS c
JOIN dripd.account AS a ON a.id = c.account_id
WHERE c.account_id IN (SELECT id FROM dripd.account WHERE $2::int4 IS NULL OR id = $2::int4)
    AND c.external_id = ANY ($1::text[])
ORDER BY c.account_id, c.id;

-- name: find_contacts_by_id :many
-- Contacts by id; $2 NULL = in every account.
--   $1 ids      int8[]
--   $2 account  int4
SELECT c.account_id, c.id, c.external_id, c.email, c.phone, c.timezone, c.owner,
    c.service_owner, c.company_id, c.attrs, c.created_at, c.erased_at, a.key AS account_key
FROM dripd.contact AS c
JOIN dripd.account AS a ON a.id = c.account_id
WHERE c.id = ANY ($1::int8[])
    AND ($2::int4 IS NULL OR c.account_id = $2::int4)
ORDER BY c.account_id, c.id;
