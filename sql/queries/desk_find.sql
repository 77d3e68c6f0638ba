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
-- The senders of an address, in other writings where none has this one; $2 and $3 NULL = any account, any channel.
--   $1 address  text
--   $2 account  int4
--   $3 channel  text
SELECT s.account_id, s.id, s.address, s.channel, s.provider, s.owner, s.shared, s.rate,
    s.daily_limit, s.warmup, s.gap, s.weight, s.status, s.pause_reason, s.created_at, a.key AS account_key
FROM dripd.sender AS s
JOIN dripd.account AS a ON a.id = s.account_id
WHERE dripd.address_form(s.address) = dripd.address_form($1::text)
    AND (s.address = $1::text OR NOT EXISTS (
        SELECT FROM dripd.sender AS o
        WHERE o.account_id = s.account_id AND o.channel = s.channel AND o.address = $1::text))
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

-- name: read_enrollment :one
--   $1 enrollment  int8
SELECT e.id, e.account_id, e.campaign_key, e.version, e.contact_id, e.run_no, e.status,
    e.end_reason, e.step_key, e.due_at, e.hold_reason, e.release_at, e.started_at, e.ended_at,
    e.reset_at, e.owner, e.conversation_ref, a.key AS account_key, k.external_id
FROM dripd.enrollment AS e
JOIN dripd.account AS a ON a.id = e.account_id
JOIN dripd.contact AS k ON k.account_id = e.account_id AND k.id = e.contact_id
WHERE e.id = $1::int8;
