-- name: put_traffic :exec
-- What a daemon has seen of senders lately.
--   $1 incarnation  int8
--   $2 accounts     int4[]
--   $3 senders      int4[], beside them
--   $4 figures      JSON text[], beside them
INSERT INTO dripd.sender_traffic AS t (account_id, sender_id, incarnation, figures)
SELECT k.account_id, k.sender_id, $1::int8, k.figures::jsonb
FROM unnest($2::int4[], $3::int4[], $4::text[]) AS k (account_id, sender_id, figures)
ON CONFLICT (account_id, sender_id, incarnation) DO UPDATE
SET figures = excluded.figures,
    at = clock_timestamp();

-- name: read_traffic :many
-- What daemons told of these senders, and how long ago, the latest last.
--   $1 accounts  int4[]
--   $2 senders   int4[], beside them
SELECT t.account_id, t.sender_id, t.figures,
    (extract(epoch FROM clock_timestamp() - t.at) * 1000)::int8 AS age_ms
FROM unnest($1::int4[], $2::int4[]) AS k (account_id, sender_id)
JOIN dripd.sender_traffic AS t ON t.account_id = k.account_id AND t.sender_id = k.sender_id
ORDER BY t.at;

-- name: real_now :one
-- Real time, by which what is going on is judged.
SELECT clock_timestamp() AS now;

-- name: sweep_traffic :exec
DELETE FROM dripd.sender_traffic WHERE at < clock_timestamp() - interval '1 day';
