-- name: find_attachments :many
-- Those of some files that are there in full.
--   $1 account int4  $2 sha256 text[]
SELECT sha256, max(size) AS size
FROM dripd.attachment
WHERE account_id = $1::int4 AND sha256 = ANY ($2::text[])
GROUP BY sha256
HAVING sum(octet_length(data)) = max(size);

-- name: put_attachment :exec
--   $1 account int4  $2 sha256 text  $3 part int4  $4 size int4  $5 data bytea
INSERT INTO dripd.attachment (account_id, sha256, part, size, data)
VALUES ($1::int4, $2::text, $3::int4, $4::int4, $5::bytea)
ON CONFLICT (account_id, sha256, part) DO NOTHING;

-- name: drop_attachment :exec
--   $1 account int4  $2 sha256 text
DELETE FROM dripd.attachment WHERE account_id = $1::int4 AND sha256 = $2::text;

-- name: drop_misfits :exec
-- Parts of a file that was said to have another size.
--   $1 account int4  $2 sha256 text  $3 size int4
DELETE FROM dripd.attachment
WHERE account_id = $1::int4 AND sha256 = $2::text AND size <> $3::int4;

-- name: is_sound :one
-- Does a file that is there in full hold what its name says?
--   $1 account int4  $2 sha256 text
SELECT encode(sha256(string_agg(data, ''::bytea ORDER BY part)), 'hex') = $2::text AS sound
FROM dripd.attachment
WHERE account_id = $1::int4 AND sha256 = $2::text;
