-- name: own_inbox :one
-- One inbox worker an account at a time: tried, not waited for.
--   $1 account int
SELECT pg_try_advisory_xact_lock(7235, $1::int4) AS mine;

-- name: take_stops :many
-- Unprocessed events that stop runs come first: 32825 is the bits of their kinds, here and below, as in event_in_stop.
--   $1 account int  $2 most int  $3 after this one bigint
SELECT id FROM dripd.event_in
WHERE account_id = $1::int4 AND kind_bit & 32825 <> 0 AND id > $3::int8
ORDER BY id
LIMIT $2::int4;

-- name: take_events :many
-- The others. One half alone finds anything: IS NOT DISTINCT FROM would read the index of every account.
--   $1 account int (0: rows that name none)  $2 most int  $3 after this one bigint
SELECT id FROM (
    (
        SELECT id FROM dripd.event_in
        WHERE account_id = $1::int4 AND kind_bit & 32825 = 0 AND id > $3::int8
        ORDER BY id
        LIMIT $2::int4
    )
    UNION ALL
    (
        SELECT id FROM dripd.event_in
        WHERE $1::int4 = 0 AND account_id IS NULL AND id > $3::int8
        ORDER BY id
        LIMIT $2::int4
    )
) AS e;

-- name: pending_events :many
-- What stands in an account's queue, stops first: asked only where some of it cannot be read.
--   $1 account int (0: rows that name none)  $2 most int
SELECT id FROM dripd.event_in
WHERE account_id = $1::int4 OR ($1::int4 = 0 AND account_id IS NULL)
ORDER BY kind_bit & 32825 = 0, id
LIMIT $2::int4;

-- name: read_events :many
-- Events with whom they concern; `known`: there is such an account.
--   $1 account int  $2 events bigint[]  $3 interest int: only events of these kinds have their contacts looked up
--   $4 bare boolean: as if they had no payload
SELECT e.id, e.kind, e.kind_bit, e.internal, e.delivery_id, e.conversation_ref, e.address, e.dedup_key, e.occurred_at,
    CASE WHEN NOT $4::boolean THEN e.payload::text END AS payload, e.contact_id, whom.contact_ids,
    CASE WHEN e.kind_bit & $3::int4 <> 0 AND (  -- rarely is anything pending
            SELECT EXISTS (SELECT FROM dripd.enroll_request WHERE status = 'pending' AND queued_for IS NULL))
        THEN ARRAY(
            SELECT c.live_cv_id FROM (
                SELECT q.account_id, q.account_key, q.campaign_key, q.source, q.inserted_at, q.queued_for
                FROM dripd.contact AS k
                JOIN dripd.enroll_request AS q ON q.status = 'pending'
                    AND left(coalesce(q.contact_id::text, q.external_id), 200) = ANY (ARRAY[k.id::text, left(k.external_id, 200)])
                    AND (q.contact_id = k.id OR (q.contact_id IS NULL AND q.external_id = k.external_id))
                WHERE k.account_id + 0 = $1::int4 AND k.id = ANY (whom.contact_ids)
                UNION ALL
                SELECT q.account_id, q.account_key, q.campaign_key, q.source, q.inserted_at, q.queued_for
                FROM dripd.enroll_request AS q
                WHERE q.status = 'pending' AND left(q.conversation_ref, 200) = left(e.conversation_ref, 200)
                    AND q.conversation_ref = e.conversation_ref) AS q
            CROSS JOIN LATERAL (  -- OFFSET 0: asked of what is pending alone, not all that there are of it
                SELECT live_cv_id FROM dripd.campaign
                WHERE account_id = $1::int4 AND key = q.campaign_key AND live_cv_id IS NOT NULL
                OFFSET 0) AS c
            WHERE q.queued_for IS NULL
                AND (q.account_id = $1::int4 OR (q.account_id IS NULL AND q.account_key = (
                    SELECT a.key FROM dripd.account AS a WHERE a.id = $1::int4)))
                AND (q.inserted_at <= coalesce(e.occurred_at, 'infinity') OR q.source LIKE 'trigger:%')  -- by an event before
        ) ELSE '{}' END AS asked,
    n.enrollment_id,
    d.step_key, d.campaign_id, d.cv_id,
    coalesce(d.channel, CASE i.channel WHEN 'email' THEN 1 WHEN 'sms' THEN 2 END) AS channel,
    coalesce(d.to_address, i.to_address) AS to_address,
    e.kind = 'list_added' AND 8192 & $3::int4 <> 0 AND EXISTS (SELECT FROM dripd.contact AS c  -- contact_created
        WHERE c.account_id = $1::int4 AND c.id = e.contact_id
            AND c.created_at > dripd.now() - interval '1 minute') AS newcomer,
    CASE WHEN NOT $4::boolean AND e.kind IN ('list_added', 'list_removed') AND jsonb_typeof(e.payload -> 'list_id') = 'number' THEN (
        SELECT l.key FROM dripd.contact_list AS l
        WHERE l.account_id = $1::int4 AND l.id = CASE WHEN abs((e.payload ->> 'list_id')::numeric) < 1e18
            THEN (e.payload ->> 'list_id')::numeric::int8 END) END AS list_key,
    CASE WHEN e.kind_bit & 56 <> 0 AND e.address IS NULL AND e.delivery_id IS NULL THEN (  -- bounce unsubscribe complaint
        SELECT ARRAY[c.email, c.phone] FROM dripd.contact AS c
        WHERE c.account_id = $1::int4 AND c.id = e.contact_id) END AS own,
    EXISTS (SELECT FROM dripd.account AS a WHERE a.id = $1::int4) AS known
FROM unnest($2::int8[]) WITH ORDINALITY AS w (id, o)
CROSS JOIN LATERAL (  -- two probes, as in take_events
    SELECT * FROM dripd.event_in WHERE account_id = $1::int4 AND id = w.id
    UNION ALL
    SELECT * FROM dripd.event_in WHERE $1::int4 = 0 AND account_id IS NULL AND id = w.id
) AS e
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.delivery_id ~ '^[0-9]{1,18}-[0-9]{1,9}$'
        THEN split_part(e.delivery_id, '-', 1)::int8 END AS enrollment_id
) AS n
LEFT JOIN LATERAL (
    SELECT s.key AS step_key, v.campaign_id, l.cv_id, l.channel, l.to_address
    FROM dripd.step_log AS l
    JOIN dripd.version_step AS s ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
    JOIN dripd.campaign_version AS v ON v.account_id = l.account_id AND v.id = l.cv_id
    WHERE l.account_id = $1::int4 AND l.enrollment_id = n.enrollment_id
        AND l.seq::text = split_part(e.delivery_id, '-', 2)
    ORDER BY l.at DESC
    LIMIT 1
) AS d ON true
LEFT JOIN dripd.individual_send AS i
    ON i.account_id = $1::int4 AND NOT i.notice
        AND i.id = CASE WHEN e.delivery_id ~ '^i-[0-9]{1,18}$' THEN substr(e.delivery_id, 3)::int8 END
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.kind_bit & $3::int4 = 0 AND coalesce(e.kind NOT IN ('task_closed', 'reset', 'enter', 'company_changed'), true) THEN '{}'
            WHEN e.contact_id IS NOT NULL THEN ARRAY(SELECT c.id FROM dripd.contact AS c
                WHERE c.account_id = $1::int4 AND c.id = e.contact_id)
            WHEN i.id IS NOT NULL THEN ARRAY[i.contact_id]
            WHEN e.delivery_id IS NOT NULL THEN ARRAY(SELECT r.contact_id FROM dripd.run AS r
                WHERE r.account_id + 0 = $1::int4 AND r.id = n.enrollment_id)  -- by its id, whatever was planned for
            WHEN e.conversation_ref IS NOT NULL THEN ARRAY(SELECT DISTINCT r.contact_id FROM dripd.run AS r
                WHERE r.account_id = $1::int4 AND left(r.conversation_ref, 200) = left(e.conversation_ref, 200)
                    AND r.conversation_ref = e.conversation_ref AND r.status = 1)
            WHEN e.kind = 'company_changed' THEN ARRAY(  -- contacts of whom a run is held, waits or is judged
                SELECT DISTINCT c.id FROM dripd.contact AS c
                JOIN dripd.run AS r ON r.account_id = c.account_id AND r.contact_id = c.id AND r.status = 1
                JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
                WHERE c.account_id = $1::int4
                    AND c.company_id = CASE WHEN e.address ~ '^[0-9]{1,18}$' THEN e.address::int8 END
                    AND (r.hold_reason IS NOT NULL OR d.flags & 4 <> 0 OR d.claim_id IS NOT NULL))
            WHEN e.address IS NOT NULL THEN ARRAY(SELECT c FROM dripd.contacts_at($1::int4, e.address) AS c)
            ELSE '{}' END AS contact_ids
) AS whom
ORDER BY w.o;

-- name: listens :one
-- Who listens to an account's events at this moment, as `AccountRow.listens` says it.
--   $1 account int
SELECT coalesce((
        SELECT string_agg(t.id::text, ',' ORDER BY t.id)
        FROM dripd.campaign_trigger AS t WHERE t.account_id = $1::int4), '')
    || '|' || coalesce((
        SELECT string_agg(concat(c.id, ':', c.live_cv_id, ':', c.status), ',' ORDER BY c.id)
        FROM dripd.campaign AS c WHERE c.account_id = $1::int4), '') AS listens;

-- name: see_events :many
-- Deduplication keys are remembered for ever; one that was seen does not come back.
--   $1 account int  $2 keys text[]
INSERT INTO dripd.event_seen (account_id, dedup_h)
SELECT DISTINCT $1::int4, hashtextextended(key, 0) FROM unnest($2::text[]) AS key
ON CONFLICT DO NOTHING
RETURNING dedup_h;

-- name: hash_keys :many
--   $1 keys text[]
SELECT hashtextextended(key, 0) AS h FROM unnest($1::text[]) WITH ORDINALITY AS k (key, o) ORDER BY o;

-- name: lock_runs :many
-- The live runs of contacts, their due steps locked: stop looks first, then marks and deletes.
--   $1 account int  $2 contacts bigint[]
-- locks: due_step rows, in the order of their key
SELECT r.id AS enrollment_id, r.contact_id, r.campaign_id, r.cv_id, r.run_no, r.started_at, r.hold_reason,
    r.conversation_ref, r.entered, d.step_no, d.seq, d.lane, d.due_at, d.flags, d.attempt,
    d.claim_id IS NOT NULL AS leased,
    p.timezone, p.attrs::text AS attrs,
    EXISTS (SELECT FROM dripd.park AS k WHERE k.account_id = d.account_id AND k.lane IN (d.lane, -1)) AS parked,
    (SELECT count(*) FROM dripd.event_log AS e
        WHERE e.account_id = r.account_id AND e.contact_id = r.contact_id AND e.kind = 'bounce'
            AND e.payload ->> 'type' = 'soft' AND e.occurred_at >= r.started_at
            AND e.refused_reason IS NULL)::int4 AS soft_bounces
FROM dripd.run AS r
JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
LEFT JOIN dripd.contact AS p ON p.account_id = r.account_id AND p.id = r.contact_id
WHERE r.account_id = $1::int4 AND r.contact_id = ANY ($2::int8[]) AND r.status = 1
ORDER BY d.account_id, d.lane, d.due_at, d.enrollment_id
FOR UPDATE OF d;

-- name: mark_stopped :exec
-- A leased step is marked: its message may have left, and record will log it.
--   $1 account int  $2 enrollments bigint[]
UPDATE dripd.due_step SET attempt = -1
WHERE account_id = $1::int4 AND enrollment_id = ANY ($2::int8[]) AND claim_id IS NOT NULL;

-- name: regret :many
-- What left of runs after what now ends them had happened, told in the journal: the event was heard too late.
--   $1 account int  $2 enrollments bigint[]  $3 contacts bigint[]  $4 events bigint[]  $5 reasons text[]
--   $6 when each event happened timestamptz[]
INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
SELECT $1::int4, k.e, k.c, 'regret', jsonb_build_object(
    'event_id', k.event, 'reason', k.reason, 'sent', count(DISTINCT l.seq),
    'late_ms', round(extract(epoch FROM dripd.now() - k.since) * 1000)::int8)
FROM unnest($2::int8[], $3::int8[], $4::int8[], $5::text[], $6::timestamptz[]) AS k (e, c, event, reason, since)
JOIN dripd.step_log AS l ON l.account_id = $1::int4 AND l.enrollment_id = k.e
    AND l.sent_at > k.since AND l.at >= k.since AND l.channel > 0 AND l.state IN (1, 3)
GROUP BY k.e, k.c, k.event, k.reason, k.since
RETURNING (detail ->> 'sent')::int4 AS sent;

-- name: cancel_awaited :exec
-- Nobody waits any more for the tasks that ended runs waited for.
--   $1 account int  $2 enrollments bigint[]
UPDATE dripd.task SET state = 'cancelled', closed_by = 'dripd'
WHERE account_id = $1::int4 AND enrollment_id = ANY ($2::int8[]) AND awaited AND state = 'open';

-- name: delete_stopped :exec
--   $1 account int  $2 enrollments bigint[]
DELETE FROM dripd.due_step
WHERE account_id = $1::int4 AND enrollment_id = ANY ($2::int8[]) AND claim_id IS NULL;

-- name: move_due :many
-- Reset on interaction: only while it waits.
--   $1 account int  $2 enrollments bigint[]  $3 due timestamptz[]
UPDATE dripd.due_step AS d SET due_at = k.due
FROM unnest($2::int8[], $3::timestamptz[]) AS k (e, due)
WHERE d.account_id = $1::int4 AND d.enrollment_id = k.e AND d.claim_id IS NULL AND d.lane >= 0
RETURNING d.account_id, d.lane, d.due_at, d.enrollment_id, d.cv_id;

-- name: suppress :exec
--   $1 account int  $2 channels text[]  $3 addresses text[]  $4 reasons text[]
INSERT INTO dripd.suppression (account_id, channel, address, reason, created_by)
SELECT $1::int4, channel, address, reason, 'event' FROM unnest($2::text[], $3::text[], $4::text[]) AS k (channel, address, reason)
ON CONFLICT DO NOTHING;

-- name: request_runs :exec
-- Triggers fired: requests like any other.
--   $1 account int  $2 campaign keys text[]  $3 contacts bigint[]  $4 sources text[]  $5 sequences text[]
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id, source, entry)
SELECT $1::int4, key, contact, source, nullif(entry, '')
FROM unnest($2::text[], $3::int8[], $4::text[], $5::text[]) AS k (key, contact, source, entry);

-- name: enter_sequences :many
-- Events move runs into sequences: they stand before the first step there.
--   $1 account int  $2 enrollments bigint[]  $3 steps int2[]  $4 due timestamptz[]  $5 lanes int2[]  $6 entered int[]
--   $7 by their goal boolean[]
WITH moved AS (
    UPDATE dripd.due_step AS d
    SET step_no = k.s, due_at = k.due, lane = k.l, attempt = 0, flags = d.flags & 1,
        seq = d.seq + CASE WHEN d.flags & 2 <> 0 THEN 1 ELSE 0 END
    FROM unnest($2::int8[], $3::int2[], $4::timestamptz[], $5::int2[]) AS k (e, s, due, l)
    WHERE d.account_id = $1::int4 AND d.enrollment_id = k.e AND d.claim_id IS NULL
    RETURNING d.account_id, d.lane, d.due_at, d.enrollment_id, d.cv_id
), told AS (
    UPDATE dripd.run AS r
    SET entered = k.entered, reached = r.reached OR k.goal, hold_reason = NULL, release_at = NULL
    FROM unnest($2::int8[], $6::int4[], $7::boolean[]) AS k (e, entered, goal)
    WHERE r.account_id = $1::int4 AND r.id = k.e
)
SELECT account_id, lane, due_at, enrollment_id, cv_id FROM moved;

-- name: enter_later :exec
-- Entries that wait for the steps their runs have begun with: they stand in the way of no lease.
--   $1 account int  $2 contacts bigint[]  $3 payloads text[]
INSERT INTO dripd.event_in (account_id, contact_id, kind, payload, internal)
SELECT $1::int4, contact, 'enter', payload::jsonb, true FROM unnest($2::int8[], $3::text[]) AS k (contact, payload);

-- name: forget_runs :exec
-- Ended runs of contacts no longer count as runs of a campaign.
--   $1 account int  $2 contacts bigint[]  $3 campaign keys text[]
UPDATE dripd.run AS r
SET reset_at = (SELECT dripd.now()), reentry = NULL
FROM unnest($2::int8[], $3::text[]) AS k (contact, key)
JOIN dripd.campaign AS c ON c.account_id = $1::int4 AND c.key = k.key
WHERE r.account_id = $1::int4 AND r.contact_id = k.contact AND r.campaign_id = c.id
    AND r.status > 1 AND r.reset_at IS NULL;

-- name: unsee_events :exec
-- Events that stay in the queue have not been seen yet.
--   $1 account int  $2 keys text[]
DELETE FROM dripd.event_seen
WHERE account_id = $1::int4 AND dedup_h IN (SELECT hashtextextended(key, 0) FROM unnest($2::text[]) AS key);

-- name: notify_ended :exec
--   $1 accounts int[]  $2 enrollments bigint[]  $3 recipients text[]  $4 payloads text[]
INSERT INTO dripd.notification (account_id, kind, recipient, enrollment_id, payload)
SELECT a, 'ended', who, e, payload::jsonb FROM unnest($1::int4[], $2::int8[], $3::text[], $4::text[])
    AS k (a, e, who, payload);

-- name: notify_opened :exec
-- Who watches a message is told once that it was opened.
--   $1 account int  $2 enrollments bigint[]  $3 deliveries text[]  $4 fields text[]: of the contact, "" for none
--   $5 owners text[]
INSERT INTO dripd.notification (account_id, kind, recipient, enrollment_id, payload)
SELECT DISTINCT ON (k.delivery) $1::int4, 'opened', coalesce(nullif(c.attrs ->> k.field, ''), k.owner), k.e,
    jsonb_build_object('delivery_id', k.delivery)
FROM unnest($2::int8[], $3::text[], $4::text[], $5::text[]) AS k (e, delivery, field, owner)
JOIN dripd.run AS r ON r.account_id = $1::int4 AND r.id = k.e
JOIN dripd.contact AS c ON c.account_id = r.account_id AND c.id = r.contact_id
WHERE NOT EXISTS (
    SELECT FROM dripd.notification AS n
    WHERE n.account_id = $1::int4 AND n.enrollment_id = k.e AND n.kind = 'opened'
        AND n.payload ->> 'delivery_id' = k.delivery);

-- name: log_events :exec
-- Processed events leave the queue in the transaction that applies them. Whom an event names stays with it, also
-- where nothing listened and nobody was looked up; a change of several fields is told field by field, as
-- `policy.inbox_rows.one_by_one` has it. What is said to come later came now, in the log too, and what came before
-- the epoch in it.
--   $1 events bigint[]  $2 contacts bigint[]  $3 enrollments bigint[]  $4 refused text[]  $5 account int
WITH named AS (
    DELETE FROM dripd.event_in AS e
    WHERE e.account_id = $5::int4 AND e.id = ANY ($1::int8[])
    RETURNING e.*, array_position($1::int8[], e.id) AS n
), nameless AS (
    DELETE FROM dripd.event_in AS e
    WHERE $5::int4 = 0 AND e.account_id IS NULL AND e.id = ANY ($1::int8[])
    RETURNING e.*, array_position($1::int8[], e.id) AS n
)
INSERT INTO dripd.event_log (id, account_id, contact_id, enrollment_id, kind, delivery_id, conversation_ref, address,
    dedup_key, occurred_at, payload, refused_reason)
SELECT g.id, g.account_id,
    coalesce(
        ($2::int8[])[g.n],
        g.contact_id,
        (SELECT r.contact_id FROM dripd.run AS r WHERE r.account_id = $5::int4 AND r.id = ($3::int8[])[g.n])),
    ($3::int8[])[g.n], g.kind, g.delivery_id, g.conversation_ref, g.address, g.dedup_key,
    greatest(least(g.occurred_at, (SELECT dripd.now())), 'epoch'), coalesce(c.change, g.payload), ($4::text[])[g.n]
FROM (SELECT * FROM named UNION ALL SELECT * FROM nameless) AS g
LEFT JOIN LATERAL jsonb_array_elements(
    CASE WHEN g.kind IN ('field_changed', 'status_changed') AND jsonb_typeof(g.payload -> 'changes') = 'array'
        THEN g.payload -> 'changes' ELSE '[]' END) AS c (change) ON jsonb_typeof(c.change) = 'object';

-- name: refuse_events :many
-- Events that nobody can read are logged, and have no effect; never those that stop runs.
--   $1 account int  $2 events bigint[]  $3 reason text
WITH gone AS (
    DELETE FROM dripd.event_in AS e
    WHERE (e.account_id = $1::int4 OR ($1::int4 = 0 AND e.account_id IS NULL)) AND e.id = ANY ($2::int8[]) AND e.kind_bit & 32825 = 0
    RETURNING e.id, e.account_id, e.contact_id, e.kind, e.delivery_id, e.conversation_ref, e.address, e.dedup_key, e.occurred_at,
        e.payload
)
INSERT INTO dripd.event_log (id, account_id, contact_id, kind, delivery_id, conversation_ref, address, dedup_key, occurred_at,
    payload, refused_reason)
SELECT g.id, g.account_id, g.contact_id, g.kind, g.delivery_id, g.conversation_ref, g.address, g.dedup_key,
    greatest(least(g.occurred_at, (SELECT dripd.now())), 'epoch'), g.payload, $3::text
FROM gone AS g
RETURNING id;

-- name: fold_usage :many
-- What others reported goes into the day rows; the reporter waited for nobody. Usage of an account whose day is
-- not there yet waits for it. A count stops at a milliard, so that what remains of a cap can be reckoned.
--   $1 most int
-- locks: usage_in rows, skip locked
WITH gone AS (
    DELETE FROM dripd.usage_in
    WHERE id IN (
        SELECT u.id
        FROM dripd.usage_in AS u
        LEFT JOIN dripd.account AS a ON a.key = u.account_key
        WHERE a.id IS NULL OR EXISTS (
            SELECT FROM dripd.account_day AS ad
            WHERE ad.account_id = a.id AND ad.starts_at <= (SELECT dripd.now()) AND ad.ends_at > (SELECT dripd.now()))
        ORDER BY u.id
        LIMIT $1::int4
        FOR UPDATE OF u SKIP LOCKED)
    RETURNING account_key, source, n
), summed AS (
    SELECT a.id AS account_id,
        coalesce(sum(g.n) FILTER (WHERE g.source = 'bulk'), 0) AS bulk,
        coalesce(sum(g.n) FILTER (WHERE g.source = 'individual'), 0) AS individual,
        coalesce(sum(g.n) FILTER (WHERE g.source = 'internal'), 0) AS internal
    FROM gone AS g
    JOIN dripd.account AS a ON a.key = g.account_key
    GROUP BY a.id
)
UPDATE dripd.account_day AS ad
SET bulk = least(ad.bulk + s.bulk, 1000000000), individual = least(ad.individual + s.individual, 1000000000),
    internal = least(ad.internal + s.internal, 1000000000)
FROM summed AS s
WHERE ad.account_id = s.account_id
    AND ad.starts_at <= (SELECT dripd.now()) AND ad.ends_at > (SELECT dripd.now())
RETURNING ad.account_id, ad.cap, ad.used, ad.bulk, s.bulk > 0 AS reported;

-- name: release_steps :many
-- What held runs by themselves has been put right: back in their lane, as late as they are. What they wait for
-- came: due now.
--   $1 account int  $2 enrollments bigint[]  $3 lanes int2[]
UPDATE dripd.due_step AS d
SET lane = k.l,
    due_at = CASE WHEN d.flags & 4 = 0 THEN least(d.due_at, (SELECT dripd.now())) ELSE (SELECT dripd.now()) END
FROM unnest($2::int8[], $3::int2[]) AS k (e, l)
WHERE d.account_id = $1::int4 AND d.enrollment_id = k.e AND d.claim_id IS NULL
    AND (d.lane = -1 OR d.flags & 4 <> 0)
RETURNING d.account_id, d.lane, d.due_at, d.enrollment_id, d.cv_id;

-- name: poke_leased :exec
-- What a step waits for came while it is leased: record will let it be judged again.
--   $1 account int  $2 enrollments bigint[]
UPDATE dripd.due_step SET flags = flags | 16
WHERE account_id = $1::int4 AND enrollment_id = ANY ($2::int8[]) AND claim_id IS NOT NULL;

-- name: release_runs :exec
--   $1 account int  $2 enrollments bigint[]
WITH told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT r.account_id, r.id, r.contact_id, 'released', jsonb_build_object('reason', r.hold_reason, 'seq', d.seq)
    FROM dripd.run AS r
    JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
    WHERE r.account_id = $1::int4 AND r.id = ANY ($2::int8[]) AND r.status = 1 AND r.hold_reason IS NOT NULL
)
UPDATE dripd.run SET hold_reason = NULL, release_at = NULL
WHERE account_id = $1::int4 AND id = ANY ($2::int8[]);

-- name: read_contacts :many
-- The facts of contacts that actions on events are about.
--   $1 account int  $2 contacts bigint[]
SELECT c.id, c.external_id, c.email, c.phone, c.timezone, c.owner, c.service_owner, c.attrs::text AS attrs,
    o.attrs::text AS company,
    ARRAY(SELECT t.tag FROM dripd.contact_tag AS t WHERE t.account_id = c.account_id AND t.contact_id = c.id) AS tags,
    ARRAY(SELECT l.key FROM dripd.list_member AS m
        JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
        WHERE m.account_id = c.account_id AND m.contact_id = c.id) AS lists
FROM dripd.contact AS c
LEFT JOIN dripd.company AS o ON o.account_id = c.account_id AND o.id = c.company_id
WHERE c.account_id = $1::int4 AND c.id = ANY ($2::int8[]);

-- name: react_once :one
-- An action that a contact sets in motion only once; no row: it was.
--   $1 account int  $2 campaign int  $3 contact bigint  $4 handler text
INSERT INTO dripd.reaction (account_id, campaign_id, contact_id, handler)
VALUES ($1::int4, $2::int4, $3::int8, $4::text)
ON CONFLICT DO NOTHING
RETURNING contact_id;
