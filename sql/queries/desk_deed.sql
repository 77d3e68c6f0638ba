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
