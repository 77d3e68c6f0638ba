-- name: sink_rules :many
-- What the built-in sink is told to answer, first match wins.
-- locks: the rules that count down
SELECT id, account_id, recipient_like, answer, times FROM dripd.sink_rule
WHERE times IS NULL OR times > 0
ORDER BY id
FOR UPDATE;

-- name: spend_rules :exec
--   $1 ids bigint[]  $2 counts int[]
UPDATE dripd.sink_rule AS r SET times = greatest(r.times - k.n, 0)
FROM unnest($1::int8[], $2::int4[]) AS k (id, n)
WHERE r.id = k.id AND r.times IS NOT NULL;

-- name: sink_messages :exec
--   parallel arrays, in the order of the columns
INSERT INTO dripd.sink_message (account_id, channel, sender, recipient, subject, body, headers, idempotency_key,
    enrollment_id, step_key)
SELECT a, channel, sender, recipient, subject, body, headers::jsonb, key, e, step
FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::int8[],
    $10::text[]) AS k (a, channel, sender, recipient, subject, body, headers, key, e, step);
