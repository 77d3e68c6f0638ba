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

-- name: put_list :one
-- Make a list, or give it these values.
--   $1 account  $2 key  $3 kind  $4 is static
INSERT INTO dripd.contact_list AS l (account_id, key, kind, is_static)
VALUES ($1::int4, $2::text, $3::text, $4::boolean)
ON CONFLICT (account_id, key) DO UPDATE
SET kind = excluded.kind,
    is_static = excluded.is_static
RETURNING account_id, id, key, name, kind, is_static, created_at;

-- name: list_lists :many
-- Lists by id. Members are counted up to 100,000; NULL = more.
--   $1 account  int4, NULL = all
--   $2 kind     text, NULL = any
--   $3 after    int8, an id
--   $4 most     int4
SELECT l.account_id, l.id, l.key, l.name, l.kind, l.is_static, l.created_at,
    a.key AS account_key, nullif(m.n, 100001)::int4 AS members
FROM dripd.contact_list AS l
JOIN dripd.account AS a ON a.id = l.account_id
CROSS JOIN LATERAL (
    SELECT count(*) AS n
    FROM (
        SELECT FROM dripd.list_member AS one
        WHERE one.account_id = l.account_id AND one.list_id = l.id
        LIMIT 100001
    ) AS counted
) AS m
WHERE ($1::int4 IS NULL OR l.account_id = $1::int4)
    AND ($2::text IS NULL OR l.kind = $2::text)
    AND l.id > $3::int8
ORDER BY l.id
LIMIT $4::int4;

-- name: list_members :many
-- The members of a list by contact id.
--   $1 account  int4
--   $2 list     int8
--   $3 after    int8, a contact id
--   $4 most     int4
SELECT m.contact_id, c.external_id, m.added_at
FROM dripd.list_member AS m
JOIN dripd.contact AS c ON c.account_id = m.account_id AND c.id = m.contact_id
WHERE m.account_id = $1::int4
    AND m.list_id = $2::int8
    AND m.contact_id > $3::int8
ORDER BY m.contact_id
LIMIT $4::int4;

-- name: add_members :many
-- Put contacts on a list; those that were not on it come back.
--   $1 account   int4
--   $2 list      int8
--   $3 contacts  int8[], sorted
INSERT INTO dripd.list_member (account_id, list_id, contact_id)
SELECT $1::int4, $2::int8, c
FROM unnest($3::int8[]) AS c
ON CONFLICT DO NOTHING
RETURNING contact_id;

-- name: remove_members :many
-- Take contacts off a list; those that were on it come back.
--   $1 account   int4
--   $2 list      int8
--   $3 contacts  int8[]
DELETE FROM dripd.list_member
WHERE account_id = $1::int4
    AND list_id = $2::int8
    AND contact_id = ANY ($3::int8[])
RETURNING contact_id;

-- name: read_busy :one
-- A live run of the contact that sends on a channel, one that forbids individual messages first.
--   $1 account  $2 contact  $3 channel
SELECT c.key AS campaign_key, d.due_at AS next_send_at, v.definition -> 'policy' ->> 'individual' AS individual
FROM dripd.run AS r
JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
JOIN dripd.campaign_version AS v ON v.account_id = r.account_id AND v.id = r.cv_id
LEFT JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
WHERE r.account_id = $1::int4
    AND r.contact_id = $2::int8
    AND r.status = 1
    AND EXISTS (
        SELECT FROM dripd.version_step AS s
        WHERE s.account_id = r.account_id AND s.cv_id = r.cv_id AND s.kind = $3::text)
ORDER BY v.definition -> 'policy' ->> 'individual' = 'block' DESC NULLS LAST, d.due_at
LIMIT 1;
