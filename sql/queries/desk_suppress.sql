-- name: add_suppression :one
-- An entry, or a longer life for one that would run out earlier; nothing comes back otherwise.
--   $1 account  $2 channel  $3 address  $4 reason  $5 until  $6 by
INSERT INTO dripd.suppression (account_id, channel, address, reason, expires_at, created_by)
VALUES ($1::int4, $2::text, $3::text, $4::text, $5::timestamptz, $6::text)
ON CONFLICT DO NOTHING
RETURNING address_h;

-- name: remove_suppression :many
--   $1 account  $2 channel  $3 address
DELETE FROM dripd.suppression
WHERE address_h = dripd.address_hash($3::text)
    AND account_id = $1::int4
    AND channel = $2::text
RETURNING address_h;

-- name: check_suppression :many
-- The entries of an address; those of other accounts only where $2 is NULL.
--   $1 address  text
--   $2 account  int4
SELECT coalesce(a.key, 'everywhere') AS scope, s.channel, s.reason, s.expires_at, s.created_at,
    s.created_by, s.expires_at IS NOT NULL AND s.expires_at <= (SELECT dripd.now()) AS over
FROM dripd.suppression AS s
LEFT JOIN dripd.account AS a ON a.id = s.account_id
WHERE s.address_h = dripd.address_hash($1::text)
    AND ($2::int4 IS NULL OR s.account_id IN ($2::int4, 0))
ORDER BY s.account_id, s.channel;

-- name: export_suppressions :many
-- Entries in the order of their key.
--   $1 account  $2 after hash  $3 after account  $4 after channel  $5 most; NULL = all
SELECT concat_ws('-', s.address_h, s.account_id, s.channel) AS id,
    s.address_h, s.account_id, coalesce(a.key, 'everywhere') AS scope, s.channel, s.address,
    s.reason, s.expires_at, s.created_at, s.created_by
FROM dripd.suppression AS s
LEFT JOIN dripd.account AS a ON a.id = s.account_id
WHERE ($1::int4 IS NULL OR s.account_id IN ($1::int4, 0))
    AND (s.address_h, s.account_id, s.channel) > ($2::int8, $3::int4, $4::text)
ORDER BY s.address_h, s.account_id, s.channel
LIMIT $5::int4;

-- name: estimate_suppressions :one
-- About how many there are; below 0: nobody knows.
SELECT reltuples::int8 AS n
FROM pg_class
WHERE oid = 'dripd.suppression'::regclass;

-- name: add_event :one
-- An event for the inbox; one of the future reads as now.
--   $1 account  $2 contact  $3 kind  $4 delivery  $5 conversation  $6 address  $7 dedup key
--   $8 at, NULL = now  $9 payload
INSERT INTO dripd.event_in (account_id, contact_id, kind, delivery_id, conversation_ref, address,
    dedup_key, occurred_at, payload)
VALUES ($1::int4, $2::int8, $3::text, $4::text, $5::text, $6::text, $7::text,
    coalesce($8::timestamptz, (SELECT dripd.now())), $9::jsonb)
RETURNING id;

-- name: find_concerned :many
-- The accounts that know a delivery, a conversation or an address.
--   $1 enrollment       int8
--   $2 individual send  int8
--   $3 conversation     text
--   $4 address          text
SELECT account_id
FROM dripd.run
WHERE id = $1::int8
UNION
SELECT account_id
FROM dripd.individual_send
WHERE id = $2::int8
UNION
SELECT r.account_id
FROM dripd.account AS a
JOIN dripd.run AS r ON r.account_id = a.id AND left(r.conversation_ref, 200) = left($3::text, 200)
    AND r.conversation_ref = $3::text AND r.status = 1
UNION
SELECT a.id
FROM dripd.account AS a
CROSS JOIN LATERAL dripd.contacts_at(a.id, $4::text)
LIMIT 10;
