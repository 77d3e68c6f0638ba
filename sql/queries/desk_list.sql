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

-- name: count_runs_of_list :one
-- How the runs of a list's first members stand, 20 of each at most, and how many members these are; one more
-- where there are others.
--   $1 account  int4
--   $2 list     int8
--   $3 members  int4, that are looked at
WITH looked AS MATERIALIZED (
    SELECT m.contact_id
    FROM dripd.list_member AS m
    WHERE m.account_id = $1::int4 AND m.list_id = $2::int8
    ORDER BY m.contact_id
    LIMIT $3::int4 + 1
)
SELECT (SELECT count(*) FROM looked)::int4 AS members,
    (count(*) FILTER (WHERE r.status = 1))::int4 AS live,
    (count(*) FILTER (WHERE r.status = 2))::int4 AS completed,
    (count(*) FILTER (WHERE r.status = 3))::int4 AS removed,
    (count(*) FILTER (WHERE r.status = 4))::int4 AS terminated
FROM (SELECT contact_id FROM looked ORDER BY contact_id LIMIT $3::int4) AS one
CROSS JOIN LATERAL (
    SELECT o.status
    FROM dripd.run AS o
    WHERE o.account_id = $1::int4 AND o.contact_id = one.contact_id
    ORDER BY o.campaign_id DESC, o.run_no DESC
    LIMIT 20
) AS r;

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
