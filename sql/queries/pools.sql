-- name: read_choices :many
-- Which sender of a pool writes to each contact.
--   $1 accounts int[]  $2 contacts bigint[]  $3 channels text[]  $4 pools text[]
SELECT c.account_id, c.contact_id, c.channel, c.pool, c.sender_id
FROM unnest($1::int4[], $2::int8[], $3::text[], $4::text[]) AS k (account_id, contact_id, channel, pool)
JOIN dripd.contact_sender AS c ON c.account_id = k.account_id
    AND c.contact_id = k.contact_id
    AND c.channel = k.channel
    AND c.pool = k.pool;

-- name: put_choices :exec
-- Choose, in the order of the key; who was first is not overruled, but for a sender that is not usable.
--   $1 accounts int[]  $2 contacts bigint[]  $3 channels text[]  $4 pools text[]  $5 senders int[]
--   $6 senders that are not usable int[]
-- locks: contact_sender rows, by primary key
INSERT INTO dripd.contact_sender AS c (account_id, contact_id, channel, pool, sender_id)
SELECT k.a, k.contact, k.channel, k.pool, k.s
FROM unnest($1::int4[], $2::int8[], $3::text[], $4::text[], $5::int4[]) AS k (a, contact, channel, pool, s)
ORDER BY k.a, k.contact, k.channel, k.pool
ON CONFLICT (account_id, contact_id, channel, pool) DO UPDATE
SET sender_id = excluded.sender_id
WHERE c.sender_id = ANY ($6::int4[]);
