-- name: take_requests :many
-- Pending requests that nobody else is deciding, the oldest of each account that asks: as many of one as of another.
-- An account is known by the word that its requests name it by. One in the queue for a busy contact comes once it
-- is woken. An account of which nothing can be taken now has a row without a request.
--   $1 most int  $2 accounts int  $3 those behind this one text  $4 live versions that cannot be read int[]
-- locks: the rows, skip locked
WITH RECURSIVE asking AS (
    (SELECT left(coalesce(q.account_id::text, '@' || q.account_key, '?'), 200) COLLATE "C" AS who
        FROM dripd.enroll_request AS q
        WHERE q.status = 'pending' AND q.queued_for IS NULL
            AND left(coalesce(q.account_id::text, '@' || q.account_key, '?'), 200) COLLATE "C" > $3::text
        ORDER BY 1 LIMIT 1)
    UNION ALL
    SELECT (SELECT left(coalesce(q.account_id::text, '@' || q.account_key, '?'), 200) COLLATE "C"
        FROM dripd.enroll_request AS q
        WHERE q.status = 'pending' AND q.queued_for IS NULL
            AND left(coalesce(q.account_id::text, '@' || q.account_key, '?'), 200) COLLATE "C" > asking.who
        ORDER BY 1 LIMIT 1)
    FROM asking
    WHERE asking.who IS NOT NULL
), turn AS MATERIALIZED (
    SELECT w.who, count(*) OVER () AS n
    FROM (SELECT asking.who FROM asking WHERE asking.who IS NOT NULL LIMIT $2::int4) AS w
)
SELECT t.who, q.id,
    coalesce(q.account_id, (SELECT a.id FROM dripd.account AS a WHERE a.key = q.account_key)) AS account_id,
    q.campaign_key, q.idempotency_key
FROM turn AS t
LEFT JOIN LATERAL (
    SELECT p.id, p.account_id, p.account_key, p.campaign_key, p.idempotency_key
    FROM dripd.enroll_request AS p
    WHERE p.status = 'pending' AND p.queued_for IS NULL
        AND left(coalesce(p.account_id::text, '@' || p.account_key, '?'), 200) COLLATE "C" = t.who
        AND (cardinality($4::int4[]) = 0 OR NOT EXISTS (
            SELECT FROM dripd.campaign AS c
            WHERE c.account_id = coalesce(p.account_id, (SELECT a.id FROM dripd.account AS a WHERE a.key = p.account_key))
                AND c.key = p.campaign_key AND c.live_cv_id = ANY ($4::int4[])))
    ORDER BY p.id
    LIMIT ($1::int4 + t.n - 1) / t.n
    FOR UPDATE SKIP LOCKED
) AS q ON true
ORDER BY q.id;

-- name: retake_requests :many
-- Of these requests those that are still to be decided, and that nobody else is deciding.
--   $1 requests bigint[]  $2 live versions that cannot be read int[]
-- locks: the rows, skip locked
SELECT q.id, coalesce(q.account_id, (SELECT a.id FROM dripd.account AS a WHERE a.key = q.account_key)) AS account_id,
    q.campaign_key, q.idempotency_key
FROM dripd.enroll_request AS q
WHERE q.id = ANY ($1::int8[]) AND q.status = 'pending' AND q.queued_for IS NULL
    AND (cardinality($2::int4[]) = 0 OR NOT EXISTS (
        SELECT FROM dripd.campaign AS c
        WHERE c.account_id = coalesce(q.account_id, (SELECT a.id FROM dripd.account AS a WHERE a.key = q.account_key))
            AND c.key = q.campaign_key AND c.live_cv_id = ANY ($2::int4[])))
ORDER BY q.id
FOR UPDATE OF q SKIP LOCKED;

-- name: share_campaigns :many
-- Publish and pause wait for us: what is read next is decided on. Those of these campaigns that somebody has locked,
-- whom nobody waits for: a publication may take minutes, and whoever carries it out may be frozen.
--   $1 accounts int[]  $2 keys text[]
-- locks: campaign rows, for share, skip locked
WITH shared AS MATERIALIZED (
    SELECT c.account_id, c.key
    FROM dripd.campaign AS c
    JOIN unnest($1::int4[], $2::text[]) AS k (a, key) ON c.account_id = k.a AND c.key = k.key
    FOR SHARE OF c SKIP LOCKED
)
SELECT c.account_id, c.key AS campaign_key
FROM dripd.campaign AS c
JOIN unnest($1::int4[], $2::text[]) AS k (a, key) ON c.account_id = k.a AND c.key = k.key
EXCEPT
SELECT s.account_id, s.key FROM shared AS s;

-- name: request_facts :many
-- What must be known to decide requests.
--   $1 requests bigint[]  in the order in which they are to be decided
-- OFFSET 0: one probe a contact, also without statistics; as a plain join all of an account's may be tried
SELECT q.id, a.id AS account_id, a.status AS account_status, a.subscription_active AS subscribed, q.campaign_key,
    c.id AS campaign_id, c.status AS campaign_status,
    c.live_cv_id AS cv_id, k.id AS contact_id, q.source, q.idempotency_key, q.requested_by, q.conversation_ref,
    q.vars::text AS vars, jsonb_typeof(q.vars) AS vars_type, q.start_at, q.inserted_at, q.quote_id, q.entry, k.email, k.phone, k.timezone,
    k.owner,
    EXISTS (SELECT FROM dripd.suppression AS s
        WHERE s.address_h = dripd.address_hash(k.email) AND s.account_id IN (a.id, 0) AND s.channel = 'email'
            AND (s.expires_at IS NULL OR s.expires_at > (SELECT dripd.now()))) AS email_suppressed,
    EXISTS (SELECT FROM dripd.suppression AS s
        WHERE s.address_h = dripd.address_hash(k.phone) AND s.account_id IN (a.id, 0) AND s.channel = 'sms'
            AND (s.expires_at IS NULL OR s.expires_at > (SELECT dripd.now()))) AS phone_suppressed,
    c.board IS NULL OR EXISTS (
        SELECT FROM dripd.contact_list AS l
        JOIN dripd.list_member AS m ON m.account_id = l.account_id AND m.list_id = l.id AND m.contact_id = k.id
        WHERE l.account_id = a.id AND l.key = c.board) AS on_board,
    (SELECT jsonb_object_agg(r.exclusive, b.key)::text
        FROM dripd.run AS r
        JOIN dripd.campaign AS b ON b.account_id = r.account_id AND b.id = r.campaign_id
        WHERE r.account_id = a.id AND r.contact_id = k.id AND r.exclusive IS NOT NULL) AS busy,
    h.runs, h.live, h.unreset, h.runs_today, h.last_ended_at, h.last_run_no, h.alone,
    CASE WHEN k.id IS NOT NULL AND (a.prices <> '{}' OR (SELECT v.maps FROM dripd.campaign_version AS v
            WHERE v.account_id = a.id AND v.id = c.live_cv_id)) THEN jsonb_build_object(
        'prices', a.prices, 'attrs', k.attrs, 'external_id', k.external_id, 'service_owner', k.service_owner,
        'company', (SELECT co.attrs FROM dripd.company AS co
            WHERE co.account_id = a.id AND co.id = k.company_id),
        'tags', ARRAY(SELECT t.tag FROM dripd.contact_tag AS t WHERE t.account_id = a.id AND t.contact_id = k.id),
        'lists', ARRAY(SELECT l.key FROM dripd.list_member AS m
            JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
            WHERE m.account_id = a.id AND m.contact_id = k.id))::text END AS facts,
    CASE WHEN q.requested_by IS NOT NULL AND EXISTS (SELECT FROM dripd.operator AS o WHERE o.account_id = a.id)
        THEN coalesce((SELECT o.role FROM dripd.operator AS o
            WHERE o.account_id = a.id AND o.name = q.requested_by), '') END AS requester_role,
    c.owner AS campaign_owner,
    u.campaign_id AS quoted_campaign, u.contact_id AS quoted_contact, u.total AS quoted_total,
    seen.enrollment_id AS duplicate_of, seen.request_id AS first_request
FROM unnest($1::int8[]) WITH ORDINALITY AS w (id, o)
JOIN dripd.enroll_request AS q ON q.id = w.id AND q.status = 'pending'
LEFT JOIN dripd.account AS a
    ON a.id = coalesce(q.account_id, (SELECT x.id FROM dripd.account AS x WHERE x.key = q.account_key))
LEFT JOIN dripd.campaign AS c ON c.account_id = a.id AND c.key = q.campaign_key
LEFT JOIN LATERAL (
    SELECT y.id, y.email, y.phone, y.timezone, y.owner, y.service_owner, y.external_id, y.company_id, y.attrs
    FROM dripd.contact AS y
    WHERE y.account_id = a.id AND y.erased_at IS NULL
        AND y.id = coalesce(q.contact_id,
            (SELECT x.id FROM dripd.contact AS x WHERE x.account_id = a.id AND x.external_id = q.external_id))
    OFFSET 0
) AS k ON true
LEFT JOIN dripd.quote AS u ON u.account_id = a.id AND u.id = q.quote_id
LEFT JOIN dripd.request_seen AS seen
    ON seen.account_id = a.id AND seen.key_h = hashtextextended(q.idempotency_key, 0)
LEFT JOIN LATERAL (
    SELECT count(*)::int4 AS runs,
        (count(*) FILTER (WHERE r.status = 1))::int4 AS live,
        (count(*) FILTER (WHERE r.reset_at IS NULL))::int4 AS unreset,
        (count(*) FILTER (WHERE r.started_at > (SELECT dripd.now()) - interval '1 day'))::int4 AS runs_today,
        max(r.ended_at) AS last_ended_at,
        coalesce(max(r.run_no), 0) AS last_run_no,
        coalesce(bool_or(r.reentry = 1 AND r.status > 1), false) AS alone
    FROM dripd.run AS r
    WHERE r.account_id = a.id AND r.contact_id = k.id AND r.campaign_id = c.id
) AS h ON true
ORDER BY w.o;

-- name: next_run_ids :many
--   $1 most int
SELECT nextval('dripd.run_id') AS id FROM generate_series(1, $1::int4);

-- name: yield_reentry :exec
-- Ended runs that were to be their contacts' only ones keep nobody out of a campaign that allows more by now.
--   $1 accounts int[]  $2 contacts bigint[]  $3 campaigns int[]
UPDATE dripd.run AS r
SET reentry = NULL
FROM unnest($1::int4[], $2::int8[], $3::int4[]) AS k (a, contact, campaign)
WHERE r.account_id = k.a AND r.contact_id = k.contact AND r.campaign_id = k.campaign
    AND r.status > 1 AND r.reentry = 1;

-- name: start_runs :many
-- Runs begin; the unique indexes judge, and who loses does not come back.
--   parallel arrays, in the order of the columns, sorted by account, exclusive, campaign, contact
INSERT INTO dripd.run (account_id, id, campaign_id, contact_id, cv_id, run_no, started_at, reentry, exclusive, owner,
    source, conversation_ref, vars, status, ended_at, end_reason, paid, frozen)
SELECT a, id, c, k, cv, run_no, at, reentry, exclusive, owner, source, ref, vars::jsonb, status, ended, why,
    paid::jsonb, frozen::jsonb
FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::int8[], $5::int4[], $6::int4[], $7::timestamptz[], $8::int2[],
    $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::int2[], $15::timestamptz[], $16::text[],
    $17::text[], $18::text[])
    AS n (a, id, c, k, cv, run_no, at, reentry, exclusive, owner, source, ref, vars, status, ended, why, paid, frozen)
ON CONFLICT DO NOTHING
RETURNING id;

-- name: lock_purses :many
-- The balances that charges are decided on.
--   $1 accounts int[]  sorted
-- locks: purse rows, sorted
SELECT account_id, balance
FROM dripd.purse
WHERE account_id = ANY ($1::int4[])
ORDER BY account_id
FOR UPDATE;

-- name: make_purses :exec
-- An account that never had money: its first deposit is to wait for whoever decides that it has none.
--   $1 accounts int[]  sorted
INSERT INTO dripd.purse (account_id)
SELECT account_id FROM unnest($1::int4[]) AS k (account_id)
ON CONFLICT DO NOTHING;

-- name: shut_for_balance :exec
-- Lanes that wait for a deposit, under the lock of its purse: one that comes now finds them shut, and opens them.
--   $1 accounts int[]  $2 lanes int2[]
INSERT INTO dripd.park (account_id, lane, reason)
SELECT DISTINCT k.a, k.l, 'balance'
FROM unnest($1::int4[], $2::int2[]) AS k (a, l)
ORDER BY 1, 2
ON CONFLICT (account_id, lane) DO UPDATE SET reason = excluded.reason, release_at = NULL;

-- name: unstart_runs :exec
-- Runs of this transaction that the balance does not cover.
--   $1 accounts int[]  $2 runs bigint[]
DELETE FROM dripd.run AS r
USING unnest($1::int4[], $2::int8[]) AS k (a, id)
WHERE r.account_id = k.a AND r.id = k.id;

-- name: charge_runs :exec
-- What runs cost, charged as they begin; the balances follow by themselves.
--   $1 accounts int[]  $2 runs bigint[]  $3 amounts numeric[]  $4 at timestamptz[]
INSERT INTO dripd.ledger (account_id, kind, amount, enrollment_id, at)
SELECT a, 'charge', amount, run, at
FROM unnest($1::int4[], $2::int8[], $3::numeric[], $4::timestamptz[]) AS k (a, run, amount, at);

-- name: decide_requests :exec
--   $1 requests bigint[]  $2 status text[]  $3 reasons text[]  $4 enrollments bigint[]
UPDATE dripd.enroll_request AS q
SET status = k.s, reject_reason = k.why, enrollment_id = k.e, decided_at = (SELECT dripd.now())
FROM unnest($1::int8[], $2::text[], $3::text[], $4::int8[]) AS k (id, s, why, e)
WHERE q.id = k.id AND q.status = 'pending';

-- name: queue_requests :exec
-- Requests wait until their contact is free. A run that is about to end is waited for by nobody: they are decided anew.
--   $1 requests bigint[]  $2 accounts int[]  $3 contacts bigint[]  $4 exclusive scopes text[]
-- locks: the runs that they wait for, for share, skip locked; so that whoever ends one finds who waits
WITH busy AS MATERIALIZED (
    SELECT k.id, k.a, k.contact
    FROM unnest($1::int8[], $2::int4[], $3::int8[], $4::text[]) AS k (id, a, contact, scope)
    JOIN dripd.run AS r ON r.account_id = k.a AND r.contact_id = k.contact AND r.exclusive = k.scope
    FOR SHARE OF r SKIP LOCKED
)
UPDATE dripd.enroll_request AS q
SET account_id = k.a, queued_for = k.contact
FROM busy AS k
WHERE q.id = k.id AND q.status = 'pending';

-- name: busy_runs :many
-- The live runs that keep contacts busy.
--   $1 accounts int[]  $2 contacts bigint[]  $3 exclusive scopes text[]
SELECT r.account_id, r.id, k.o
FROM unnest($1::int4[], $2::int8[], $3::text[]) WITH ORDINALITY AS k (a, contact, scope, o)
JOIN dripd.run AS r ON r.account_id = k.a AND r.contact_id = k.contact AND r.exclusive = k.scope
ORDER BY r.account_id, r.id;

-- name: see_requests :exec
-- Idempotency keys are remembered for ever.
--   $1 accounts int[]  $2 keys text[]  $3 requests bigint[]  $4 enrollments bigint[]
INSERT INTO dripd.request_seen (account_id, key_h, request_id, enrollment_id)
SELECT a, hashtextextended(key, 0), q, e
FROM unnest($1::int4[], $2::text[], $3::int8[], $4::int8[]) AS k (a, key, q, e)
ON CONFLICT DO NOTHING;
