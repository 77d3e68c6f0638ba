-- name: keep_signals :exec
-- What recipients did with messages, for the inbox.
--   $1 accounts int[]  $2 kinds text[]  $3 deliveries text[]  $4 payloads text[]
INSERT INTO dripd.event_in (account_id, kind, delivery_id, payload)
SELECT a, kind, delivery, payload::jsonb
FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS k (a, kind, delivery, payload, o)
ORDER BY o;

-- name: match_happenings :many
-- Whom events of a provider concern: by our key, by the provider's id among what went to the address, by the account
-- and sender that are named, at last by the address alone where the event forbids it.
--   $1 provider text  $2 ordinals int[]  $3 enrollments bigint[]  $4 run numbers int[]  $5 step keys text[]
--   $6 individual sends bigint[]  $7 provider ids text[]  $8 addresses text[]  $9 our senders text[]
--   $10 account keys text[]  $11 deliveries text[]  $12 by address alone boolean[]
WITH told AS (
    SELECT * FROM unnest($2::int4[], $3::int8[], $4::int4[], $5::text[], $6::int8[], $7::text[], $8::text[],
        $9::text[], $10::text[], $11::text[], $12::bool[])
        AS k (n, enrollment_id, run_no, step_key, individual, provider_id, address, sender, account, delivery_id,
            alone)
), ours AS (
    SELECT k.n, f.account_id, f.delivery_id
    FROM told AS k
    CROSS JOIN LATERAL (
        SELECT r.account_id, l.enrollment_id || '-' || l.seq AS delivery_id
        FROM dripd.run AS r
        JOIN dripd.step_log AS l ON l.account_id = r.account_id AND l.enrollment_id = r.id
        JOIN dripd.version_step AS s
            ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
        WHERE r.id = k.enrollment_id AND r.run_no = k.run_no AND s.key = k.step_key
            AND l.channel > 0 AND l.state BETWEEN 1 AND 4
        ORDER BY l.seq DESC
        LIMIT 1
    ) AS f
    UNION ALL
    SELECT k.n, i.account_id, 'i-' || i.id
    FROM told AS k
    JOIN dripd.account AS a ON k.individual IS NOT NULL
    JOIN dripd.individual_send AS i ON i.account_id = a.id AND i.id = k.individual
    UNION ALL
    SELECT k.n, a.id, nullif(k.delivery_id, '')
    FROM told AS k
    JOIN dripd.account AS a ON a.key = k.account
), senders AS (
    SELECT DISTINCT f.account_id FROM dripd.sender AS f WHERE f.provider = $1::text
), theirs AS (
    SELECT k.n, f.account_id, p.contact_id, k.provider_id, k.alone
    FROM told AS k
    CROSS JOIN senders AS f
    CROSS JOIN LATERAL dripd.contacts_at(f.account_id, k.address) AS p (contact_id)
    WHERE k.address <> '' AND NOT EXISTS (SELECT FROM ours AS o WHERE o.n = k.n)
), proven AS (
    SELECT DISTINCT ON (t.n) t.n, l.account_id, l.enrollment_id || '-' || l.seq AS delivery_id
    FROM theirs AS t
    JOIN dripd.run AS r ON r.account_id = t.account_id AND r.contact_id = t.contact_id
    JOIN dripd.step_log AS l
        ON l.account_id = r.account_id AND l.enrollment_id = r.id AND l.provider_id = t.provider_id
    WHERE t.provider_id <> ''
    ORDER BY t.n, l.at DESC
), named AS (
    SELECT DISTINCT k.n, f.account_id
    FROM told AS k
    JOIN dripd.sender AS f ON f.provider = $1::text
        AND dripd.address_form(coalesce(substring(f.address FROM '<([^<>]*)>\s*$'), f.address)) = dripd.address_form(k.sender)
    WHERE k.sender <> '' AND NOT EXISTS (SELECT FROM ours AS o WHERE o.n = k.n)
)
SELECT n, account_id, delivery_id FROM ours
UNION ALL
SELECT n, account_id, delivery_id FROM proven
UNION ALL
SELECT n, account_id, NULL FROM named
UNION ALL
SELECT DISTINCT t.n, t.account_id, NULL
FROM theirs AS t
WHERE t.alone
    AND NOT EXISTS (SELECT FROM proven AS p WHERE p.n = t.n)
    AND NOT EXISTS (SELECT FROM named AS m WHERE m.n = t.n);

-- name: keep_happenings :exec
-- Events of providers, for the inbox, which takes each only once.
--   $1 accounts int[]  $2 kinds text[]  $3 deliveries text[]  $4 conversations text[]  $5 addresses text[]
--   $6 dedup keys text[]  $7 instants timestamptz[]  $8 payloads text[]
INSERT INTO dripd.event_in (account_id, kind, delivery_id, conversation_ref, address, dedup_key, occurred_at, payload)
SELECT a, kind, delivery, conversation, address, dedup, coalesce(at, (SELECT dripd.now())), payload::jsonb
FROM unnest($1::int4[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::text[])
    WITH ORDINALITY AS k (a, kind, delivery, conversation, address, dedup, at, payload, o)
ORDER BY o;

-- name: find_unknown :many
-- Which of these deliveries are of unknown outcome; most are not.
--   $1 accounts int[]  $2 deliveries text[]
WITH named AS (
    SELECT a, delivery,
        CASE WHEN delivery ~ '^[0-9]{1,18}-[0-9]{1,9}$' THEN split_part(delivery, '-', 1)::int8 END AS enrollment_id,
        CASE WHEN delivery ~ '^[0-9]{1,18}-[0-9]{1,9}$' THEN split_part(delivery, '-', 2)::int4 END AS seq,
        CASE WHEN delivery ~ '^i-[0-9]{1,18}$' THEN substr(delivery, 3)::int8 END AS individual
    FROM unnest($1::int4[], $2::text[]) AS k (a, delivery)
)
SELECT n.delivery
FROM named AS n
WHERE EXISTS (
        SELECT FROM dripd.step_log AS l
        WHERE l.account_id = n.a AND l.enrollment_id = n.enrollment_id AND l.seq = n.seq AND l.state = 3
            AND l.channel > 0)
    OR EXISTS (
        SELECT FROM dripd.individual_send AS i
        WHERE i.account_id = n.a AND i.id = n.individual AND i.state = 'unknown');

-- name: park_happenings :exec
-- Events that no delivery was found for; of too many the oldest go.
--   $1 provider text  $2 keys text[]  $3 told text[]  $4 most int
WITH gone AS (
    DELETE FROM dripd.event_parked
    WHERE parked_at <= (SELECT parked_at FROM dripd.event_parked ORDER BY parked_at DESC OFFSET $4::int4 LIMIT 1)
)
INSERT INTO dripd.event_parked (provider, event_key, told)
SELECT $1::text, key, told::jsonb FROM unnest($2::text[], $3::text[]) AS k (key, told)
ON CONFLICT DO NOTHING;

-- name: take_parked :many
-- Parked events that may find their delivery now; those that never did are gone for good.
--   $1 young interval  $2 old interval  $3 most int
-- locks: event_parked rows
WITH old AS (
    DELETE FROM dripd.event_parked WHERE parked_at < clock_timestamp() - $2::interval
)
SELECT provider, event_key, told::text AS told FROM dripd.event_parked
WHERE parked_at > clock_timestamp() - $1::interval
ORDER BY parked_at
LIMIT $3::int4
FOR UPDATE SKIP LOCKED;

-- name: drop_parked :exec
--   $1 providers text[]  $2 keys text[]
DELETE FROM dripd.event_parked AS e
USING unnest($1::text[], $2::text[]) AS k (provider, key)
WHERE e.provider = k.provider AND e.event_key = k.key;
