-- name: add_requests :many
-- Ask for runs; one id each, in the order given.
--   $1 account  $2 campaign  $3 source  $4 actor  $5 contact ids  $6 external ids
--   $7 start instants  $8 idempotency keys  $9 vars, one each  $10 quote  $11 conversation
WITH wished AS (
    SELECT nextval('dripd.enroll_request_id') AS id, c, x, s, k, v, n
    FROM unnest($5::int8[], $6::text[], $7::timestamptz[], $8::text[], $9::jsonb[])
        WITH ORDINALITY AS w (c, x, s, k, v, n)
    ORDER BY n
), made AS (
    INSERT INTO dripd.enroll_request (id, account_id, campaign_key, contact_id, external_id,
        source, idempotency_key, requested_by, vars, start_at, quote_id, conversation_ref)
    SELECT id, $1::int4, $2::text, c, x, $3::text, k, $4::text, v, s, $10::text, $11::text
    FROM wished
)
SELECT id
FROM wished
ORDER BY n;

-- name: preview_members :one
-- How many members of a list there are, and some of them.
--   $1 account  $2 list  $3 how many to name
SELECT count(*)::int4 AS n,
    array(
        SELECT coalesce(c.external_id, '#' || c.id)
        FROM dripd.list_member m
        JOIN dripd.contact c ON c.account_id = m.account_id AND c.id = m.contact_id
        WHERE m.account_id = $1::int4
            AND m.list_id = $2::int8
        ORDER BY m.contact_id
        LIMIT $3::int4
    ) AS sample
FROM dripd.list_member
WHERE account_id = $1::int4
    AND list_id = $2::int8;

-- name: request_members :one
-- Ask for a run of each member of a list, a chunk at a time.
--   $1 account  $2 campaign  $3 source  $4 actor  $5 list  $6 after  $7 most  $8 start
--   $9 idempotency key  $10 vars
WITH members AS (
    SELECT contact_id
    FROM dripd.list_member
    WHERE account_id = $1::int4
        AND list_id = $5::int8
        AND contact_id > $6::int8
    ORDER BY contact_id
    LIMIT $7::int4
), made AS (
    INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id, source,
        requested_by, start_at, idempotency_key, vars)
    SELECT $1::int4, $2::text, contact_id, $3::text, $4::text, $8::timestamptz,
        $9::text || ':#' || contact_id, $10::jsonb
    FROM members
    ORDER BY contact_id
)
SELECT count(*)::int4 AS n, max(contact_id) AS last
FROM members;

-- name: read_decisions :many
-- What became of requests so far.
--   $1 ids  int8[]
SELECT id, status, reject_reason, enrollment_id
FROM dripd.enroll_request
WHERE id = ANY ($1::int8[]);
