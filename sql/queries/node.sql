-- name: join_node :exec
--   $1 incarnation bigint  $2 name text  $3 version text
INSERT INTO dripd.node (incarnation, name, version, state) VALUES ($1::int8, $2::text, $3::text, 'running');

-- name: beat :one
-- Still alive, in real time, and how it goes. No row: somebody declared us dead.
--   $1 incarnation bigint  $2 accounts int  $3 state text  $4 figures JSON text
UPDATE dripd.node
SET beat_at = clock_timestamp(), accounts = $2::int4, state = $3::text, figures = $4::text::jsonb
WHERE incarnation = $1::int8 AND NOT dead
RETURNING incarnation;

-- name: acknowledge_clock :exec
-- Under a manual clock what came up before this instant has been settled. As in `move_clock` no commit is waited for.
--   $1 incarnation bigint  $2 at timestamptz
WITH served AS (
    UPDATE dripd.deployment SET served_at = $2::timestamptz WHERE served_at < $2::timestamptz
)
UPDATE dripd.node SET clock_at = $2::timestamptz
WHERE incarnation = $1::int8 AND set_config('synchronous_commit', 'off', true) = 'off';

-- name: note_served :exec
-- Somebody is at work at this instant. Where the last one is long ago, nobody was in between.
--   $1 longest silence that is none int (ms)
-- locks: the row of dripd.deployment
WITH last AS MATERIALIZED (
    SELECT served_at FROM dripd.deployment FOR UPDATE
), noted AS (
    INSERT INTO dripd.standstill (from_at, until_at)
    SELECT served_at, (SELECT dripd.now()) FROM last
    WHERE served_at < (SELECT dripd.now()) - make_interval(secs => $1::int4 / 1000.0)
    ON CONFLICT DO NOTHING
)
UPDATE dripd.deployment AS d SET served_at = greatest(last.served_at, (SELECT dripd.now()))
FROM last;

-- name: read_standstills :many
-- When nobody was at work, or a provider failed, as far as anything may still be due from it.
SELECT from_at, until_at, provider FROM dripd.standstill WHERE account_id = 0 ORDER BY from_at;

-- name: note_outages :exec
-- When providers, or senders of theirs, failed.
--   $1 from timestamptz[]  $2 until timestamptz[]  $3 accounts int[]  $4 senders int[]  $5 providers text[]
INSERT INTO dripd.standstill (from_at, until_at, account_id, sender_id, provider)
SELECT * FROM unnest($1::timestamptz[], $2::timestamptz[], $3::int4[], $4::int4[], $5::text[])
ON CONFLICT DO NOTHING;

-- name: sweep_standstills :exec
DELETE FROM dripd.standstill WHERE until_at < (SELECT dripd.now()) - interval '30 days';

-- name: leave_node :exec
--   $1 incarnation bigint
DELETE FROM dripd.node WHERE incarnation = $1::int8;

-- name: lock_dead :many
-- Daemons whose heartbeat stopped, or whose process is known to be gone. Waits for their leases
-- in flight; later ones grant nothing.
--   $1 incarnation bigint (ours)  $2 timeout int (ms of real time)  $3 gone bigint[]
-- locks: their node rows, for update
SELECT incarnation FROM dripd.node
WHERE NOT dead AND incarnation <> $1::int8
    AND (beat_at < clock_timestamp() - make_interval(secs => $2::int4 / 1000.0) OR incarnation = ANY ($3::int8[]))
ORDER BY incarnation
FOR UPDATE;

-- name: bury :exec
--   $1 incarnations bigint[]
UPDATE dripd.node SET dead = true, state = 'dead' WHERE incarnation = ANY ($1::int8[]);

-- name: dead_claims :many
-- Claims of daemons that are no more, for one survivor each.
--   $1 incarnation bigint (ours)
-- locks: claim rows, skip locked
SELECT c.claim_id, c.incarnation, c.adopted_from, c.leased_at, c.n, c.account_ids, c.due_lo, c.due_hi
FROM dripd.claim AS c
WHERE c.incarnation <> $1::int8
    AND NOT EXISTS (SELECT FROM dripd.node AS n WHERE n.incarnation = c.incarnation AND NOT n.dead)
ORDER BY c.claim_id
LIMIT 100
FOR UPDATE OF c SKIP LOCKED;

-- name: own_claims :many
--   $1 incarnation bigint
SELECT claim_id, adopted_from, leased_at, n, account_ids, due_lo, due_hi, clock_timestamp() - claimed_at > interval '2 minutes' AS old
FROM dripd.claim
WHERE incarnation = $1::int8;

-- name: adopt_steps :many
-- Taking over means claiming anew: under the old id nothing can be changed any more.
--   $1 old claim bigint  $2 new claim bigint  $3 accounts int[]  $4 due from timestamptz  $5 due to timestamptz
UPDATE dripd.due_step AS d SET claim_id = $2::int8
FROM unnest($3::int4[]) AS k (a)
WHERE d.account_id = k.a AND d.due_at BETWEEN $4::timestamptz AND $5::timestamptz AND d.claim_id = $1::int8
RETURNING d.enrollment_id;

-- name: adopt_claim :exec
--   $1 new claim bigint  $2 incarnation bigint  $3 leased_at  $4 n int  $5 accounts int[]  $6 due from  $7 due to
--   $8 the incarnations that held it before bigint[]
INSERT INTO dripd.claim (claim_id, incarnation, leased_at, n, account_ids, due_lo, due_hi, adopted_from)
VALUES ($1::int8, $2::int8, $3::timestamptz, $4::int4, $5::int4[], $6::timestamptz, $7::timestamptz, $8::int8[]);

-- name: at_rest :many
-- Of these incarnations, those that are dead and of whose claims none is open, nor a message of theirs by hand.
--   $1 incarnations bigint[]
SELECT k.i AS incarnation
FROM unnest($1::int8[]) AS k (i)
WHERE NOT EXISTS (SELECT FROM dripd.node AS n WHERE n.incarnation = k.i AND NOT n.dead)
    AND NOT EXISTS (SELECT FROM dripd.claim AS c WHERE c.incarnation = k.i OR k.i = ANY (c.adopted_from))
    AND NOT EXISTS (SELECT FROM dripd.individual_send AS i WHERE i.incarnation = k.i AND i.state = 'leased');

-- name: testify :many
-- Messages of which a journal says that they were accepted, where nobody had known.
--   $1 enrollments bigint[]  $2 seqs int[]  $3 provider ids text[]
-- locks: step_log rows
UPDATE dripd.step_log AS l SET state = 1, provider_id = coalesce(k.pid, l.provider_id), reason = NULL
FROM unnest($1::int8[], $2::int4[], $3::text[]) AS k (e, s, pid)
JOIN dripd.run AS r ON r.id = k.e
WHERE l.account_id = r.account_id AND l.enrollment_id = k.e AND l.seq = k.s AND l.state = 3
RETURNING l.enrollment_id;

-- name: count_recoveries :many
-- Steps that were taken over from a dead daemon, unperformed, and how often of late.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seqs int[]  $4 within int (ms of real time)
-- locks: recovery rows, sorted by the caller
INSERT INTO dripd.recovery AS r (account_id, enrollment_id, seq, at)
SELECT a, e, s, ARRAY[clock_timestamp()]
FROM unnest($1::int4[], $2::int8[], $3::int4[]) AS k (a, e, s)
ON CONFLICT (account_id, enrollment_id, seq) DO UPDATE
SET at = ARRAY(
    SELECT x FROM unnest(r.at) AS x WHERE x > clock_timestamp() - make_interval(secs => $4::int4 / 1000.0)
) || excluded.at
RETURNING enrollment_id, cardinality(at) AS n;

-- name: sweep_recoveries :exec
DELETE FROM dripd.recovery WHERE at[cardinality(at)] < clock_timestamp() - interval '7 days';

-- name: claimed_steps :many
-- What stands under a claim, with the contact's facts.
--   $1 claim bigint  $2 accounts int[]  $3 due from timestamptz  $4 due to timestamptz
SELECT d.account_id, d.lane, d.due_at, d.enrollment_id, d.contact_id, d.cv_id, d.seq, d.step_no, d.run_no, d.attempt,
    d.flags, c.email, c.phone, c.timezone, c.attrs::text AS attrs, c.owner, c.service_owner, c.external_id
FROM unnest($2::int4[]) AS k (a)
JOIN dripd.due_step AS d
    ON d.account_id = k.a AND d.due_at BETWEEN $3::timestamptz AND $4::timestamptz AND d.claim_id = $1::int8
JOIN dripd.contact AS c ON c.account_id = d.account_id AND c.id = d.contact_id;

-- name: apply_evidence :exec
-- Messages that turned out to be accepted, after others had called them unknown. Evidence that came
-- before its delivery was recorded waits for it.
-- locks: late_evidence and step_log rows
WITH told AS (
    SELECT e.account_id, e.id, e.enrollment_id, e.seq, e.provider_id
    FROM dripd.late_evidence AS e
    WHERE e.applied_at IS NULL AND e.state = 1
    ORDER BY e.account_id, e.id
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
), settled AS (
    UPDATE dripd.step_log AS l
    SET state = 1, provider_id = coalesce(t.provider_id, l.provider_id), reason = NULL
    FROM told AS t
    WHERE l.account_id = t.account_id AND l.enrollment_id = t.enrollment_id AND l.seq = t.seq AND l.state = 3
)
UPDATE dripd.late_evidence AS e SET applied_at = (SELECT dripd.now())
FROM told AS t
WHERE e.account_id = t.account_id AND e.id = t.id
    AND EXISTS (
        SELECT FROM dripd.step_log AS l
        WHERE l.account_id = t.account_id AND l.enrollment_id = t.enrollment_id AND l.seq = t.seq AND l.state > 0);

-- name: presume_sent :exec
-- Evidence of these messages is no longer to be expected; what was kept for another attempt goes, unless its run still
-- waits for that one.
-- locks: kept_message and step_log rows
WITH over AS (
    SELECT m.account_id, m.enrollment_id, m.seq,
        EXISTS (
            SELECT FROM dripd.run AS r
            WHERE r.account_id = m.account_id AND r.id = m.enrollment_id AND r.status = 1)
        AND NOT EXISTS (
            SELECT FROM dripd.step_log AS l
            WHERE l.account_id = m.account_id AND l.enrollment_id = m.enrollment_id AND l.seq = m.seq AND l.state > 0
        ) AS waits
    FROM dripd.kept_message AS m
    WHERE m.until <= (SELECT dripd.now())
    ORDER BY m.until
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
), told AS (
    UPDATE dripd.step_log AS l
    SET reason = 'presumed_sent'
    FROM over AS o
    WHERE l.account_id = o.account_id AND l.enrollment_id = o.enrollment_id AND l.seq = o.seq AND l.state = 3
), kept AS (
    UPDATE dripd.kept_message AS m SET until = (SELECT dripd.now()) + interval '7 days'
    FROM over AS o
    WHERE o.waits AND m.account_id = o.account_id AND m.enrollment_id = o.enrollment_id AND m.seq = o.seq
)
DELETE FROM dripd.kept_message AS m
USING over AS o
WHERE NOT o.waits AND m.account_id = o.account_id AND m.enrollment_id = o.enrollment_id AND m.seq = o.seq;

-- name: claimed_days :many
-- The local day that each account had at the instant of a lease, for refunds.
--   $1 accounts int[]  $2 at timestamptz
SELECT account_id, local_date FROM dripd.account_day
WHERE account_id = ANY ($1::int4[]) AND starts_at <= $2::timestamptz AND ends_at > $2::timestamptz;

-- name: sweep_nudges :exec
DELETE FROM dripd.nudge WHERE at < clock_timestamp() - interval '2 minutes';

-- name: sweep_nodes :exec
-- Daemons that are long dead and own no claim.
DELETE FROM dripd.node AS n
WHERE n.dead AND n.beat_at < clock_timestamp() - interval '1 day'
    AND NOT EXISTS (SELECT FROM dripd.claim AS c WHERE c.incarnation = n.incarnation);

-- name: make_partitions :one
-- Months of the tables that only grow, from the present one on.
--   $1 from timestamptz, NULL = now  $2 months int
SELECT dripd.make_partitions(coalesce($1::timestamptz, (SELECT dripd.now())), $2::int4) AS made;

-- name: drop_partitions :one
-- Months that ended longer ago than they are kept.
--   $1 days int
SELECT dripd.drop_partitions((SELECT dripd.now()) - make_interval(days => $1::int4)) AS dropped;

-- name: lost_individuals :many
-- Individual messages whose daemon died before it said what came of them, and those that ours has begun.
--   $1 incarnation bigint (ours)
SELECT i.account_id, i.id, i.incarnation
FROM dripd.individual_send AS i
WHERE i.state = 'leased'
    AND (i.incarnation = $1::int8 OR NOT EXISTS (SELECT FROM dripd.node AS n WHERE n.incarnation = i.incarnation AND NOT n.dead));

-- name: end_lost :exec
-- What became of them, unless somebody has said so meanwhile.
--   $1 accounts int[]  $2 ids bigint[]  $3 states text[]  $4 provider ids text[]  $5 reasons text[]
-- locks: individual_send rows
UPDATE dripd.individual_send AS i
SET state = k.state, provider_id = k.pid, reason = k.why,
    sent_at = CASE WHEN k.state <> 'failed' THEN i.leased_at END,
    accepted_at = CASE k.state WHEN 'accepted' THEN (SELECT dripd.now()) END
FROM unnest($1::int4[], $2::int8[], $3::text[], $4::text[], $5::text[]) AS k (a, id, state, pid, why)
WHERE i.account_id = k.a AND i.id = k.id AND i.state = 'leased';

-- name: testify_individuals :many
-- Individual messages of which a journal says that they were accepted, where nobody had known.
--   $1 ids bigint[]  $2 provider ids text[]
-- locks: individual_send rows
UPDATE dripd.individual_send AS i
SET state = 'accepted', provider_id = coalesce(k.pid, i.provider_id), reason = NULL,
    accepted_at = (SELECT dripd.now())
FROM unnest($1::int8[], $2::text[]) AS k (id, pid)
WHERE i.id = k.id AND i.state = 'unknown'
RETURNING i.id;

-- name: bear_witness :one
-- What this transaction has written is known to be committed once its number is. No row: it has written nothing.
--   $1 incarnation bigint  $2 number bigint
-- locks: our witness row
INSERT INTO dripd.witness AS w (incarnation, slot, n)
SELECT $1::int8, $2::int8 % 64, $2::int8
WHERE pg_current_xact_id_if_assigned() IS NOT NULL
ON CONFLICT (incarnation, slot) DO UPDATE SET n = greatest(w.n, excluded.n), at = excluded.at
RETURNING n;

-- name: read_witness :many
-- What of the last commits of daemons is there.
--   $1 incarnations bigint[]
SELECT incarnation, slot, n FROM dripd.witness WHERE incarnation = ANY ($1::int8[]);

-- name: adoption :one
-- The deployment, and how often it was adopted: what daemons remember is of before.
SELECT id || '-' || adoptions AS adoption FROM dripd.deployment;

-- name: note_behind :exec
-- Commits are missing: nobody sends until somebody adopts it so.
UPDATE dripd.deployment SET behind = true WHERE NOT behind;

-- name: drop_witnesses :exec
--   $1 incarnations bigint[]
DELETE FROM dripd.witness WHERE incarnation = ANY ($1::int8[]);

-- name: sweep_witnesses :exec
-- Those of daemons of which no file is asked any more.
DELETE FROM dripd.witness AS w
WHERE w.at < clock_timestamp() - interval '90 days'
    AND NOT EXISTS (SELECT FROM dripd.node AS n WHERE n.incarnation = w.incarnation);
