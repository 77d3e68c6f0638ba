-- name: lease :many
-- The permission to send, for a batch of keys that the wheel holds: waits for nobody.
--   $1 accounts int[]  $2 their local dates date[]  $3 lo int[]  $4 hi int[]  (1-based ranges into $5 to $8)
--   $5 lanes int2[]  $6 due timestamptz[]  $7 enrollments bigint[]
--   $8 masks int[]   (bits of event kinds, and of Needs above: 1 << 21 counted, 1 << 22 email, 1 << 23 sms)
--   $9 claim bigint  $10 incarnation bigint  $11 lease ahead interval  $12 its number, for dripd.witness
-- locks: node (key share), account_day and due_step rows (no key update, skip locked)
-- hot: its plan is asserted; CTEs are never joined to one another
WITH alive AS MATERIALIZED (
    SELECT 1 FROM dripd.node WHERE incarnation = $10::int8 AND NOT dead FOR KEY SHARE
), day AS MATERIALIZED (
    SELECT z.a, z.lo, z.hi, ad.local_date, ad.paused, greatest(ad.cap - ad.used - ad.bulk, 0) AS remains
    FROM unnest($1::int4[], $2::date[], $3::int4[], $4::int4[]) AS z (a, d, lo, hi)
    JOIN dripd.account_day AS ad
        ON ad.account_id = z.a AND ad.local_date = z.d
        AND ad.starts_at <= (SELECT dripd.now()) AND ad.ends_at > (SELECT dripd.now())
    WHERE NOT ad.held
        AND EXISTS (SELECT FROM alive)
        AND NOT EXISTS (SELECT FROM dripd.event_in AS ev WHERE ev.account_id + 0 = z.a AND ev.subject = 0 OFFSET 0)
    FOR NO KEY UPDATE OF ad SKIP LOCKED
), open AS MATERIALIZED (
    SELECT d.t, q.a, q.remains, q.local_date, o, d.due_at, d.contact_id, d.cv_id, d.seq, d.step_no, d.run_no,
        d.attempt, d.flags, c.email, c.phone, c.timezone, c.attrs, c.owner, c.service_owner, c.external_id,
        CASE WHEN ($8::int4[])[o] & (3 << 22) <> 0 THEN EXISTS (
            SELECT FROM dripd.suppression AS s
            WHERE s.address_h = dripd.address_hash(
                    CASE WHEN ($8::int4[])[o] & (1 << 22) <> 0 THEN c.email ELSE c.phone END)
                AND s.account_id IN (d.account_id, 0)
                AND s.channel = CASE WHEN ($8::int4[])[o] & (1 << 22) <> 0 THEN 'email' ELSE 'sms' END
                AND (s.expires_at IS NULL OR s.expires_at > (SELECT dripd.now()))
            OFFSET 0
        ) ELSE false END AS suppressed
    FROM day AS q
    CROSS JOIN LATERAL generate_series(q.lo, q.hi) AS o
    CROSS JOIN LATERAL (  -- locks: so the planner can neither pull it up nor scan due_step for the keys
        SELECT s.ctid AS t, s.account_id, s.due_at, s.enrollment_id, s.contact_id, s.cv_id, s.seq, s.step_no, s.run_no,
            s.attempt, s.flags
        FROM dripd.due_step AS s
        WHERE s.account_id = q.a AND s.lane = ($5::int2[])[o] AND s.due_at = ($6::timestamptz[])[o]
            AND s.enrollment_id = ($7::int8[])[o] AND s.claim_id IS NULL
            AND (q.paused IS NULL OR s.cv_id <> ALL (q.paused))
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS d
    CROSS JOIN LATERAL (
        SELECT p.email, p.phone, p.timezone, p.attrs, p.owner, p.service_owner, p.external_id
        FROM dripd.contact AS p
        WHERE p.account_id = d.account_id AND p.id = d.contact_id
        OFFSET 0
    ) AS c
    WHERE ($6::timestamptz[])[o] <= (SELECT dripd.now()) + $11::interval
        AND NOT EXISTS (
            SELECT FROM dripd.event_in AS ev
            WHERE ev.account_id + 0 = d.account_id
                AND ev.subject = ANY (ARRAY[d.contact_id, -d.enrollment_id,
                    dripd.address_hash(c.email), dripd.address_hash(c.phone)])
                AND ev.kind_bit & ($8::int4[])[o] <> 0
            OFFSET 0
        )
), ranked AS (
    SELECT *, ($8::int4[])[o] & (1 << 21) <> 0 AND NOT suppressed AS counted FROM open
), numbered AS (
    SELECT *, row_number() OVER (PARTITION BY a, counted ORDER BY o) AS n FROM ranked
), chosen AS (
    SELECT * FROM numbered WHERE NOT counted OR n <= remains
), marked AS (
    UPDATE dripd.due_step AS d SET claim_id = $9::int8, flags = CASE WHEN g.counted THEN d.flags | 64::int2 ELSE d.flags END
    FROM chosen AS g
    WHERE d.ctid = g.t
    RETURNING g.o, g.a, g.local_date, g.due_at, g.contact_id, g.cv_id, g.seq, g.step_no, g.run_no, g.attempt, g.flags,
        g.email, g.phone, g.timezone, g.attrs, g.owner, g.service_owner, g.external_id, g.suppressed, g.counted
), spent AS (
    UPDATE dripd.account_day AS ad SET used = ad.used + z.n
    FROM (SELECT a, local_date, count(*)::int4 AS n FROM marked WHERE counted GROUP BY a, local_date) AS z
    WHERE ad.account_id = z.a AND ad.local_date = z.local_date
), kept AS (
    INSERT INTO dripd.claim (claim_id, incarnation, leased_at, n, account_ids, due_lo, due_hi)
    SELECT $9::int8, $10::int8, (SELECT dripd.now()), count(*), $1::int4[], min(due_at), max(due_at)
    FROM marked
    HAVING count(*) > 0
    RETURNING incarnation
), witnessed AS (
    INSERT INTO dripd.witness AS w (incarnation, slot, n)
    SELECT incarnation, $12::int8 % 64, $12::int8 FROM kept
    ON CONFLICT (incarnation, slot) DO UPDATE SET n = greatest(w.n, excluded.n), at = excluded.at
)
SELECT o, contact_id, cv_id, seq, step_no, run_no, attempt, flags, email, phone, timezone, attrs::text AS attrs, owner,
    service_owner, external_id, suppressed, counted,
    (SELECT floor(extract(epoch FROM dripd.now()) * 1000)::int8) AS leased_at  -- ms: as a number it needs no codec
FROM marked;

-- name: suppressed :many
-- Addresses that are not the contact's own columns: is each never to be reached?
--   $1 accounts int[]  $2 channels text[]  $3 addresses text[]
-- locks: nothing
SELECT EXISTS (
    SELECT FROM dripd.suppression AS s
    WHERE s.address_h = dripd.address_hash(k.address) AND s.account_id IN (k.a, 0) AND s.channel = k.channel
        AND (s.expires_at IS NULL OR s.expires_at > (SELECT dripd.now()))
) AS suppressed
FROM unnest($1::int4[], $2::text[], $3::text[]) WITH ORDINALITY AS k (a, channel, address, o)
ORDER BY k.o;

-- name: know_addresses :many
-- Whose addresses are that campaigns map instead of the contacts' own, for events that name them; and does an event of
-- one wait that its step must not pass?
--   $1 accounts int[]  $2 contacts bigint[]  $3 addresses text[]  $4 masks int[] (of event kinds)
-- locks: nothing; keys of contact_address, in their order
WITH asked AS MATERIALIZED (
    SELECT k.a, k.c, k.address, k.mask, k.o
    FROM unnest($1::int4[], $2::int8[], $3::text[], $4::int4[]) WITH ORDINALITY AS k (a, c, address, mask, o)
), known AS (
    INSERT INTO dripd.contact_address (account_id, address_key, contact_id)
    SELECT DISTINCT k.a, dripd.address_key(k.a, k.address), k.c
    FROM asked AS k
    WHERE dripd.address_form(k.address) <> ''
    ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING
)
SELECT EXISTS (
    SELECT FROM dripd.event_in AS ev
    WHERE ev.account_id + 0 = k.a AND ev.subject = dripd.address_hash(k.address) AND ev.kind_bit & k.mask <> 0
) AS told
FROM asked AS k
ORDER BY k.o;

-- name: await_resets :many
-- Steps that must wait: one that may reset their campaign is due for the same contact, no later, in a lane that is open.
--   $1 accounts int[]  $2 lanes int2[]  $3 due timestamptz[]  $4 enrollments bigint[]
--   $5 accounts int[]  $6 versions int[]  $7 campaigns int[] that they may reset
-- locks: nothing
SELECT k.e
FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::int8[]) AS k (a, l, due, e)
JOIN dripd.lane AS l ON l.account_id = k.a AND l.lane = k.l
JOIN dripd.due_step AS d ON d.account_id = k.a AND d.lane = k.l AND d.due_at = k.due AND d.enrollment_id = k.e
WHERE EXISTS (
    SELECT FROM dripd.run AS r
    JOIN dripd.due_step AS x ON x.account_id = r.account_id AND x.enrollment_id = r.id
    JOIN dripd.lane AS xl ON xl.account_id = x.account_id AND xl.lane = x.lane
    WHERE r.account_id = k.a AND r.contact_id = d.contact_id AND r.status = 1
        AND x.due_at <= k.due AND xl.channel = ''
        AND (x.account_id, x.cv_id, l.campaign_id) IN (SELECT * FROM unnest($5::int4[], $6::int4[], $7::int4[]))
        AND NOT EXISTS (SELECT FROM dripd.park AS p WHERE p.account_id = x.account_id AND p.lane IN (-1, x.lane))
);

-- name: refusals :many
-- Why keys were not granted; asked only for those.
--   $1 accounts int[]  $2 dates date[]  $3 lanes int2[]  $4 due timestamptz[]  $5 enrollments bigint[]  $6 masks int[]
-- locks: nothing
SELECT k.o,
    CASE
        WHEN d.enrollment_id IS NULL OR d.claim_id IS NOT NULL THEN 'gone'
        WHEN ad.account_id IS NULL THEN 'no_day'
        WHEN ad.held OR d.cv_id = ANY (ad.paused) THEN 'held'
        WHEN EXISTS (
            SELECT FROM dripd.event_in AS ev
            WHERE ev.account_id + 0 = k.a
                AND (ev.subject = 0 OR ev.kind_bit & k.mask <> 0 AND ev.subject = ANY (ARRAY[d.contact_id,
                    -d.enrollment_id, dripd.address_hash(c.email), dripd.address_hash(c.phone)]))
        ) THEN 'event'
        WHEN k.mask & (1 << 21) <> 0 AND ad.cap - ad.used - ad.bulk <= 0 THEN 'cap'
        ELSE 'locked'
    END AS why
FROM unnest($1::int4[], $2::date[], $3::int2[], $4::timestamptz[], $5::int8[], $6::int4[]) WITH ORDINALITY
    AS k (a, d, l, due, e, mask, o)
LEFT JOIN dripd.due_step AS d ON d.account_id = k.a AND d.lane = k.l AND d.due_at = k.due AND d.enrollment_id = k.e
LEFT JOIN dripd.contact AS c ON c.account_id = d.account_id AND c.id = d.contact_id
LEFT JOIN dripd.account_day AS ad
    ON ad.account_id = k.a AND ad.local_date = k.d
    AND ad.starts_at <= (SELECT dripd.now()) AND ad.ends_at > (SELECT dripd.now());

-- name: set_aside :many
-- Steps that nobody can lease are held, each with its error as a failed step.
--   $1 accounts int[]  $2 lanes int2[]  $3 due timestamptz[]  $4 enrollments bigint[]  $5 errors text[]
-- locks: due_step rows, by full key in the order given, then their runs
WITH moved AS (
    UPDATE dripd.due_step AS d SET lane = -1, seq = d.seq + 1
    FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::int8[], $5::text[]) AS k (a, l, due, e, why)
    WHERE d.account_id = k.a AND d.lane = k.l AND d.due_at = k.due AND d.enrollment_id = k.e AND d.claim_id IS NULL
    RETURNING d.account_id, d.enrollment_id, d.cv_id, d.seq - 1 AS seq, d.step_no, d.run_no, d.attempt, k.why
), held AS (
    UPDATE dripd.run AS r SET hold_reason = 'quarantined', release_at = NULL
    FROM moved AS m
    WHERE r.account_id = m.account_id AND r.id = m.enrollment_id AND r.status = 1
    RETURNING r.account_id, r.id, r.contact_id, m.seq + 1 AS seq
), told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT account_id, id, contact_id, 'held', jsonb_build_object('reason', 'quarantined', 'seq', seq) FROM held
)
INSERT INTO dripd.step_log (account_id, enrollment_id, claim_id, leased_at, at, cv_id, seq, step_no, run_no, channel,
    state, attempt, reason)
SELECT account_id, enrollment_id, 0, (SELECT dripd.now()), (SELECT dripd.now()), cv_id, seq, step_no, run_no, 0, 2,
    attempt + 1, why
FROM moved
RETURNING enrollment_id;

-- name: more_facts :many
-- What only some versions read; asked only for their steps, in the lease's crossing.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 contacts bigint[]  $4 needs int[] (bits of Needs)
--   $5 seq int[]  $6 incarnation bigint
SELECT k.o, r.started_at, r.due_was, r.vars::text AS vars, r.owner AS run_owner, asked.state AS asked_state,
    asked.payload::text AS asked_payload, asked.created_at AS asked_at,
    CASE WHEN k.needs & (1 << 26) <> 0 THEN (
        SELECT jsonb_agg(jsonb_build_array(e.kind, e.payload, (
            SELECT s.key FROM dripd.step_log AS l
            JOIN dripd.version_step AS s
                ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
            WHERE l.account_id = k.a AND l.enrollment_id = k.e AND e.delivery_id = k.e || '-' || l.seq
            LIMIT 1)) ORDER BY e.id)::text
        FROM dripd.event_log AS e
        WHERE e.account_id = k.a AND e.contact_id = k.c AND e.refused_reason IS NULL
            AND (e.enrollment_id IS NULL OR e.enrollment_id = k.e)
            AND e.occurred_at >= coalesce((
                SELECT max(l.leased_at) FROM dripd.step_log AS l
                WHERE l.account_id = k.a AND l.enrollment_id = k.e AND l.state > 0), r.started_at)) END AS recent,
    CASE WHEN k.needs & (1 << 27) <> 0 THEN (
        SELECT jsonb_agg(jsonb_build_array(x.enrollment_id, x.seq, (extract(epoch FROM x.at) * 1000)::int8))::text
        FROM (
            SELECT l.enrollment_id, l.seq, l.at
            FROM dripd.run AS other
            JOIN dripd.step_log AS l ON l.account_id = other.account_id AND l.enrollment_id = other.id
            WHERE other.account_id = k.a AND other.contact_id = k.c AND l.channel > 0 AND l.state IN (1, 3)
            ORDER BY l.at DESC
            LIMIT 100
        ) AS x) END AS sent,
    CASE WHEN k.needs & (1 << 27) <> 0 THEN (
        SELECT count(*)::int4
        FROM dripd.claim AS x
        JOIN dripd.lane AS l ON l.account_id = k.a AND l.channel <> ''
        JOIN dripd.due_step AS d ON d.account_id = k.a AND d.lane = l.lane AND d.claim_id = x.claim_id
            AND d.due_at BETWEEN x.due_lo AND x.due_hi
        WHERE x.incarnation <> $6::int8 AND k.a = ANY (x.account_ids) AND d.contact_id = k.c
            AND d.enrollment_id <> k.e) END AS in_hand,
    CASE WHEN k.needs & (1 << 24) <> 0 THEN (r.paid -> 'messages')::text END AS paid,
    CASE WHEN k.needs & (1 << 24) <> 0 THEN r.frozen::text END AS frozen,
    CASE WHEN k.needs & (1 << 16) <> 0 THEN (
        SELECT co.attrs::text FROM dripd.contact AS c
        JOIN dripd.company AS co ON co.account_id = c.account_id AND co.id = c.company_id
        WHERE c.account_id = k.a AND c.id = k.c) END AS company,
    CASE WHEN k.needs & (1 << 17) <> 0 THEN ARRAY(
        SELECT t.tag FROM dripd.contact_tag AS t WHERE t.account_id = k.a AND t.contact_id = k.c) END AS tags,
    CASE WHEN k.needs & (1 << 18) <> 0 THEN ARRAY(
        SELECT l.key FROM dripd.list_member AS m
        JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
        WHERE m.account_id = k.a AND m.contact_id = k.c) END AS lists,
    CASE WHEN k.needs & (1 << 19) <> 0 THEN ARRAY(
        SELECT DISTINCT e.kind FROM dripd.event_log AS e
        WHERE e.account_id = k.a AND e.contact_id = k.c AND e.occurred_at >= r.started_at
            AND e.refused_reason IS NULL AND (e.enrollment_id IS NULL OR e.enrollment_id = k.e)) END AS events
FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::int4[], $5::int4[]) WITH ORDINALITY AS k (a, e, c, needs, q, o)
JOIN dripd.run AS r ON r.account_id = k.a AND r.id = k.e
LEFT JOIN LATERAL (
    SELECT t.seq, t.state, t.payload, t.created_at
    FROM dripd.task AS t
    WHERE k.needs & (1 << 25) <> 0 AND t.account_id = k.a AND t.enrollment_id = k.e AND t.seq <= k.q
    UNION ALL
    SELECT o.seq, o.state, jsonb_build_object('reason', o.reason), o.created_at
    FROM dripd.outbox AS o
    WHERE k.needs & (1 << 25) <> 0 AND o.account_id = k.a AND o.enrollment_id = k.e AND o.seq = k.q AND o.awaited
    ORDER BY seq DESC
    LIMIT 1
) AS asked ON true;

-- name: read_kept :many
-- What is known of the attempts before; asked only for steps that were tried.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]
SELECT k.o, coalesce(m.provider, '') AS provider, coalesce(m.since, l.at) AS since, m.until, m.message::text AS message,
    coalesce(l.state, 0::int2) AS state, coalesce(l.reason, '') AS reason
FROM unnest($1::int4[], $2::int8[], $3::int4[]) WITH ORDINALITY AS k (a, e, q, o)
LEFT JOIN dripd.kept_message AS m ON m.account_id = k.a AND m.enrollment_id = k.e AND m.seq = k.q
LEFT JOIN LATERAL (
    SELECT s.state, s.reason, s.at FROM dripd.step_log AS s
    WHERE s.account_id = k.a AND s.enrollment_id = k.e AND s.seq = k.q AND s.state IN (1, 2, 3)
    ORDER BY s.at DESC
    LIMIT 1
) AS l ON true;

-- name: settle_claim :one
-- A lease whose commit is in doubt: the tombstone waits for it, then either finds its claim or kills it.
--   $1 claim bigint  $2 incarnation bigint
-- returns a row where the lease will never commit, none where it did
INSERT INTO dripd.claim (claim_id, incarnation, leased_at, n)
VALUES ($1::int8, $2::int8, (SELECT dripd.now()), 0)
ON CONFLICT (claim_id) DO NOTHING
RETURNING claim_id;
