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
