-- name: keep_signals :exec
-- What recipients did with messages, for the inbox.
--   $1 accounts int[]  $2 kinds text[]  $3 deliveries text[]  $4 payloads text[]
INSERT INTO dripd.event_in (account_id, kind, delivery_id, payload)
SELECT a, kind, delivery, payload::jsonb
FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS k (a, kind, delivery, payload, o)
ORDER BY o;
