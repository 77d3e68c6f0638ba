-- name: lock_contact_key :one
-- A contact as it is before it is put.
--   $1 account      int4
--   $2 external id  text
-- locks: the contact row
SELECT id, email, phone, timezone, owner, service_owner, attrs
FROM dripd.contact
WHERE account_id = $1::int4
    AND external_id = $2::text
FOR UPDATE;

-- name: put_contact :one
-- Make a contact, or change what is given of it; attrs are merged.
--   $1 account  $2 external id  $3 email  $4 phone  $5 timezone  $6 owner
--   $7 service owner  $8 attrs
INSERT INTO dripd.contact AS c (account_id, external_id, email, phone, timezone, owner,
    service_owner, attrs)
VALUES ($1::int4, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::jsonb)
ON CONFLICT (account_id, external_id) DO UPDATE
SET email = coalesce(excluded.email, c.email),
    phone = coalesce(excluded.phone, c.phone),
    timezone = coalesce(excluded.timezone, c.timezone),
    owner = coalesce(excluded.owner, c.owner),
    service_owner = coalesce(excluded.service_owner, c.service_owner),
    attrs = CASE jsonb_typeof(c.attrs) WHEN 'object' THEN c.attrs ELSE '{}' END || excluded.attrs
RETURNING account_id, id, external_id, email, phone, timezone, owner, service_owner,
    company_id, attrs, created_at, erased_at;

-- name: lock_contact :one
-- A contact as it is, kept so until we commit.
--   $1 account  int4
--   $2 id       int8
-- locks: the contact row
SELECT account_id, id, external_id, email, phone, timezone, owner, service_owner, company_id,
    attrs, created_at, erased_at
FROM dripd.contact
WHERE account_id = $1::int4
    AND id = $2::int8
FOR UPDATE;

-- name: zones_of_contact :one
-- Where a contact's days begin: its own zone, and the account's.
--   $1 account  int4
--   $2 id       int8
SELECT c.timezone AS own, a.timezone AS of_account
FROM dripd.contact AS c
JOIN dripd.account AS a ON a.id = c.account_id
WHERE c.account_id = $1::int4
    AND c.id = $2::int8;

-- name: field_types :many
-- What the fields of an account's contacts hold.
--   $1 account  int4
SELECT key, type
FROM dripd.field
WHERE account_id = $1::int4
    AND target = 'contact';

-- name: change_contact :one
-- Give a contact these values.
--   $1 account  $2 id  $3 email  $4 phone  $5 timezone  $6 owner  $7 service owner  $8 attrs
UPDATE dripd.contact
SET email = $3::text,
    phone = $4::text,
    timezone = $5::text,
    owner = $6::text,
    service_owner = $7::text,
    attrs = $8::jsonb
WHERE account_id = $1::int4
    AND id = $2::int8
RETURNING account_id, id, external_id, email, phone, timezone, owner, service_owner,
    company_id, attrs, created_at, erased_at;

-- name: list_contacts :many
-- Contacts by id, with their tags and lists.
--   $1 account  int4, NULL = all
--   $2 tag      text, NULL = any
--   $3 list     int8, NULL = any
--   $4 after    int8, an id
--   $5 most     int4
SELECT c.account_id, c.id, c.external_id, c.email, c.phone, c.timezone, c.owner,
    c.service_owner, c.company_id, c.attrs, c.created_at, c.erased_at, a.key AS account_key,
    ARRAY(
        SELECT t.tag FROM dripd.contact_tag AS t
        WHERE t.account_id = c.account_id AND t.contact_id = c.id
        ORDER BY t.tag
    ) AS tags,
    ARRAY(
        SELECT l.key
        FROM dripd.list_member AS m
        JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
        WHERE m.account_id = c.account_id AND m.contact_id = c.id
        ORDER BY l.key
    ) AS lists
FROM dripd.contact AS c
JOIN dripd.account AS a ON a.id = c.account_id
WHERE ($1::int4 IS NULL OR c.account_id = $1::int4)
    AND ($2::text IS NULL OR EXISTS (
        SELECT FROM dripd.contact_tag AS t
        WHERE t.account_id = c.account_id AND t.contact_id = c.id AND t.tag = $2::text))
    AND ($3::int8 IS NULL OR EXISTS (
        SELECT FROM dripd.list_member AS m
        WHERE m.account_id = c.account_id AND m.contact_id = c.id AND m.list_id = $3::int8))
    AND c.id > $4::int8
ORDER BY c.id
LIMIT $5::int4;

-- name: more_of_contact :one
-- The tags and lists of a contact.
--   $1 account  int4
--   $2 id       int8
SELECT ARRAY(
        SELECT t.tag FROM dripd.contact_tag AS t
        WHERE t.account_id = $1::int4 AND t.contact_id = $2::int8
        ORDER BY t.tag
    ) AS tags,
    ARRAY(
        SELECT l.key
        FROM dripd.list_member AS m
        JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
        WHERE m.account_id = $1::int4 AND m.contact_id = $2::int8
        ORDER BY l.key
    ) AS lists;

-- name: contact_runs :many
-- The live runs of a contact, as contact_active, with their ids.
--   $1 account  int4
--   $2 contact  int8
SELECT e.id AS enrollment_id, e.campaign_key, e.run_no, greatest(e.due_at, e.release_at) AS next_send_at
FROM dripd.enrollment AS e
WHERE e.account_id = $1::int4
    AND e.contact_id = $2::int8
    AND e.status IN ('waiting', 'held', 'executing')
ORDER BY e.id;

-- name: tag_contacts :many
-- Put tags on contacts of an account; what was tagged comes back.
--   $1 account   int4
--   $2 contacts  int8[]
--   $3 tags      text[]
INSERT INTO dripd.contact_tag (account_id, contact_id, tag)
SELECT DISTINCT $1::int4, c, t
FROM unnest($2::int8[]) AS c
CROSS JOIN unnest($3::text[]) AS t
ORDER BY 2, 3
ON CONFLICT DO NOTHING
RETURNING contact_id, tag;

-- name: untag_contact :many
--   $1 account  int4
--   $2 contact  int8
--   $3 tags     text[]
DELETE FROM dripd.contact_tag
WHERE account_id = $1::int4
    AND contact_id = $2::int8
    AND tag = ANY ($3::text[])
RETURNING tag;

-- name: erase_contact :exec
--   $1 contact  int8
SELECT dripd.erase_contact($1::int8);
