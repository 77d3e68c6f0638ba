-- name: find_foreign_campaign :one
-- A campaign among $1 that the actor may not change, in an account that has operators.
--   $1 campaigns int4[]  $2 actor
SELECT c.key, c.owner, c.account_id
FROM dripd.campaign AS c
WHERE c.id = ANY ($1::int4[])
    AND EXISTS (SELECT FROM dripd.operator AS o WHERE o.account_id = c.account_id)
    AND NOT EXISTS (
        SELECT FROM dripd.operator AS o
        WHERE o.account_id = c.account_id
            AND o.name = $2::text
            AND (o.role = 'admin' OR (o.role = 'member' AND c.owner = o.name)))
ORDER BY c.id
LIMIT 1;

-- name: is_board_closed :one
-- Has the account operators, and is the actor neither an admin nor let onto the board?
--   $1 account  $2 board  $3 actor
SELECT EXISTS (SELECT FROM dripd.operator AS o WHERE o.account_id = $1::int4)
    AND NOT EXISTS (
        SELECT FROM dripd.operator AS o
        WHERE o.account_id = $1::int4
            AND o.name = $3::text
            AND (o.role = 'admin' OR $2::text = ANY (o.boards))) AS closed;

-- name: find_account_of_others :one
-- An account among $1 that has operators, and in which the actor is no admin.
--   $1 accounts int4[], NULL = any  $2 actor
SELECT a.id, a.key
FROM dripd.account AS a
WHERE ($1::int4[] IS NULL OR a.id = ANY ($1::int4[]))
    AND EXISTS (SELECT FROM dripd.operator AS o WHERE o.account_id = a.id)
    AND NOT EXISTS (
        SELECT FROM dripd.operator AS o
        WHERE o.account_id = a.id AND o.name = $2::text AND o.role = 'admin')
ORDER BY a.id
LIMIT 1;

-- name: read_operator_role :one
-- The actor's role in an account; NULL = no operator there, no row = the account has none.
--   $1 account  $2 actor
SELECT (SELECT o.role FROM dripd.operator AS o
    WHERE o.account_id = $1::int4 AND o.name = $2::text) AS role
WHERE EXISTS (SELECT FROM dripd.operator AS o WHERE o.account_id = $1::int4);

-- name: read_addresses :many
-- The senders of an account, with whose they are.
--   $1 account
SELECT address, channel, owner, shared
FROM dripd.sender
WHERE account_id = $1::int4
ORDER BY id;

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
