-- name: move_steps :many
-- Steps that go on, under the claim that they were leased with; a stopped one does not come back. What came for a step
-- while it was leased (16) is no matter of the next one, unless that is held.
--   $1 accounts int[]  $2 lanes int2[]  $3 due timestamptz[]  $4 enrollments bigint[]  $5 claims bigint[]
--   $6 next due timestamptz[]  $7 next lane int2[]  $8 next step int2[]  $9 next seq int[]  $10 attempt int2[]
--   $11 flags int2[]
-- locks: due_step rows, by full key in the order given
-- hot
UPDATE dripd.due_step AS d
SET due_at = k.nd, lane = k.nl, step_no = k.ns, seq = k.nq, attempt = k.na,
    flags = k.nf | (d.flags & CASE WHEN d.step_no = k.ns OR k.nl = -1 THEN 528 ELSE 512 END), claim_id = NULL
FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::int8[], $5::int8[], $6::timestamptz[], $7::int2[],
    $8::int2[], $9::int4[], $10::int2[], $11::int2[]) AS k (a, l, due, e, c, nd, nl, ns, nq, na, nf)
WHERE d.account_id = k.a AND d.lane = k.l AND d.due_at = k.due AND d.enrollment_id = k.e
    AND d.claim_id = k.c AND d.attempt >= 0
RETURNING d.enrollment_id, d.flags & 512 <> 0 AS erased;

-- name: end_steps :many
-- Steps whose run is over: it ends with them, or had been stopped while they were leased.
--   $1 accounts int[]  $2 lanes int2[]  $3 due timestamptz[]  $4 enrollments bigint[]  $5 claims bigint[]
-- locks: due_step rows, by full key in the order given
-- hot
DELETE FROM dripd.due_step AS d
USING unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::int8[], $5::int8[]) AS k (a, l, due, e, c)
WHERE d.account_id = k.a AND d.lane = k.l AND d.due_at = k.due AND d.enrollment_id = k.e AND d.claim_id = k.c
RETURNING d.enrollment_id, d.attempt, d.flags & 512 <> 0 AS erased;

-- name: settle_steps :exec
-- Later attempts at messages in doubt: accepted, or as unknown as before.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]  $4 state int2[]  $5 attempt int2[]  $6 provider ids text[]
--   $7 reasons text[]
-- locks: step_log rows
UPDATE dripd.step_log AS l
SET state = CASE WHEN k.s = 1 THEN 1::int2 ELSE 3::int2 END,
    attempt = greatest(l.attempt, k.n),
    provider_id = coalesce(k.pid, l.provider_id),
    reason = CASE WHEN k.s <> 1 THEN coalesce(k.why, l.reason) END
FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::int2[], $5::int2[], $6::text[], $7::text[]) AS k (a, e, q, s, n, pid, why)
WHERE l.account_id = k.a AND l.enrollment_id = k.e AND l.seq = k.q AND l.state = 3;

-- name: keep_messages :exec
-- What further attempts send, and until when they are made or evidence is waited for.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]  $4 contacts bigint[]  $5 providers text[]
--   $6 since timestamptz[]  $7 until timestamptz[]  $8 messages text[]
INSERT INTO dripd.kept_message (account_id, enrollment_id, seq, contact_id, provider, since, until, message)
SELECT a, e, q, c, provider, since, until, message::jsonb
FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::int8[], $5::text[], $6::timestamptz[], $7::timestamptz[],
    $8::text[]) AS k (a, e, q, c, provider, since, until, message)
ON CONFLICT (account_id, enrollment_id, seq) DO UPDATE
SET provider = excluded.provider, since = excluded.since, until = excluded.until, message = excluded.message;

-- name: drop_messages :exec
-- Messages that are settled.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]
DELETE FROM dripd.kept_message AS m
USING unnest($1::int4[], $2::int8[], $3::int4[]) AS k (a, e, q)
WHERE m.account_id = k.a AND m.enrollment_id = k.e AND m.seq = k.q;

-- name: refund_caps :many
-- Give back what a lease took and no message used, on the day of the lease.
--   $1 accounts int[]  $2 dates date[]  $3 counts int[]
-- locks: account_day rows, sorted by the caller
UPDATE dripd.account_day AS ad
SET used = greatest(ad.used - k.n, 0)
FROM unnest($1::int4[], $2::date[], $3::int4[]) AS k (a, d, n)
WHERE ad.account_id = k.a AND ad.local_date = k.d
RETURNING ad.account_id;

-- name: end_runs :many
-- Runs reach their end; what they kept busy is free.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 status int2[]  $4 reasons text[]
UPDATE dripd.run AS r
SET status = k.s, end_reason = k.why, ended_at = (SELECT dripd.now()), exclusive = NULL, hold_reason = NULL,
    release_at = NULL, reentry = nullif(r.reentry, 2::int2)
FROM unnest($1::int4[], $2::int8[], $3::int2[], $4::text[]) AS k (a, e, s, why)
WHERE r.account_id = k.a AND r.id = k.e AND r.status = 1
RETURNING r.id;

-- name: end_alike :exec
-- As `end_runs`, of runs that end alike.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 status int2  $4 reason text
-- hot
UPDATE dripd.run AS r
SET status = $3::int2, end_reason = $4::text, ended_at = (SELECT dripd.now()), exclusive = NULL, hold_reason = NULL,
    release_at = NULL, reentry = nullif(r.reentry, 2::int2)
FROM unnest($1::int4[], $2::int8[]) AS k (a, e)
WHERE r.account_id = k.a AND r.id = k.e AND r.status = 1;

-- name: count_actions :exec
-- Automation actions of accounts, by their local month.
--   $1 kind text  $2 accounts int[]  $3 periods text[]  $4 counts int[]
-- locks: meter rows, sorted by the caller
INSERT INTO dripd.meter AS m (account_id, kind, period, n)
SELECT a, $1::text, period, n
FROM unnest($2::int4[], $3::text[], $4::int4[]) AS k (a, period, n)
ON CONFLICT (account_id, kind, period) DO UPDATE SET n = m.n + excluded.n;

-- name: drop_held_actions :exec
-- What was held of a quota has been performed and counted, or was not.
--   $1 accounts int[]  $2 enrollments bigint[]
DELETE FROM dripd.meter_hold AS h
USING unnest($1::int4[], $2::int8[]) AS k (a, e)
WHERE h.account_id = k.a AND h.enrollment_id = k.e;

-- name: pay_back :exec
-- Messages that cost less than they were charged.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 versions int[]  $4 steps int2[]  $5 amounts numeric[]
INSERT INTO dripd.ledger (account_id, kind, amount, enrollment_id, step_key)
SELECT k.a, 'refund', k.amount, k.e, s.key
FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::int2[], $5::numeric[]) AS k (a, e, cv, no, amount)
JOIN dripd.version_step AS s ON s.account_id = k.a AND s.cv_id = k.cv AND s.step_no = k.no
ON CONFLICT DO NOTHING;

-- name: refund_stopped :exec
-- Runs that were stopped while a message was in flight: now it is known whether it left.
--   $1 accounts int[]  $2 enrollments bigint[]
SELECT dripd.refund_unsent(a, e)
FROM unnest($1::int4[], $2::int8[]) AS k (a, e)
ORDER BY a, e;

-- name: hold_runs :exec
-- Runs that wait by themselves, with the reason; the journal hears of those that wait for somebody.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 reasons text[]  $4 release timestamptz[]  $5 seq int[], null: not journaled
--   $6 when it came due before it was put off timestamptz[], null: as it is
WITH k AS (
    SELECT * FROM unnest($1::int4[], $2::int8[], $3::text[], $4::timestamptz[], $5::int4[], $6::timestamptz[])
        AS k (a, e, why, until, seq, was)
), told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT r.account_id, r.id, r.contact_id, 'held', jsonb_build_object('reason', k.why, 'seq', k.seq)
    FROM k
    JOIN dripd.run AS r ON r.account_id = k.a AND r.id = k.e
    WHERE k.why IS NOT NULL AND k.seq IS NOT NULL AND r.status = 1 AND r.hold_reason IS DISTINCT FROM k.why
)
UPDATE dripd.run AS r
SET hold_reason = k.why, release_at = k.until, due_was = coalesce(k.was, r.due_was)
FROM k
WHERE r.account_id = k.a AND r.id = k.e AND r.status = 1;

-- name: end_waits :exec
-- Runs whose step no longer waits for an answer.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]
WITH k AS (
    SELECT * FROM unnest($1::int4[], $2::int8[], $3::int4[]) AS k (a, e, seq)
), told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT r.account_id, r.id, r.contact_id, 'released', jsonb_build_object('reason', r.hold_reason, 'seq', k.seq)
    FROM k
    JOIN dripd.run AS r ON r.account_id = k.a AND r.id = k.e
    WHERE r.status = 1 AND r.hold_reason IS NOT NULL
)
UPDATE dripd.run AS r
SET hold_reason = NULL, release_at = NULL
FROM k
WHERE r.account_id = k.a AND r.id = k.e AND r.hold_reason IS NOT NULL;

-- name: wake_poked :many
-- What waiting steps wait for came while they were leased: they are judged again at once, what was held as late
-- as it is.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 lanes int2[]
-- locks: nothing that move_steps has not locked
UPDATE dripd.due_step AS d
SET due_at = CASE WHEN d.flags & 4 = 0 THEN least(d.due_at, (SELECT dripd.now())) ELSE (SELECT dripd.now()) END,
    lane = k.l, flags = d.flags & ~16
FROM unnest($1::int4[], $2::int8[], $3::int2[]) AS k (a, e, l)
WHERE d.account_id = k.a AND d.enrollment_id = k.e AND d.claim_id IS NULL AND d.flags & 16 <> 0
RETURNING d.account_id, d.lane, d.due_at, d.enrollment_id, d.cv_id;

-- name: drop_claims :exec
-- Claims that have no step left.
--   $1 claims bigint[]
DELETE FROM dripd.claim WHERE claim_id = ANY ($1::int8[]);

-- name: find_erased :many
-- Which of these contacts have been erased.
--   $1 accounts int[]  $2 contacts bigint[]
SELECT c.id
FROM unnest($1::int4[], $2::int8[]) AS k (a, id)
JOIN dripd.contact AS c ON c.account_id = k.a AND c.id = k.id AND c.erased_at IS NOT NULL;

-- name: keep_evidence :exec
-- Results that came back after their claim was lost.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 claims bigint[]  $4 seq int[]  $5 state int2[]  $6 provider ids text[]
--   $7 reasons text[]
INSERT INTO dripd.late_evidence (account_id, enrollment_id, claim_id, seq, state, provider_id, reason)
SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::int4[], $5::int2[], $6::text[], $7::text[]);

-- name: add_tags :exec
--   $1 accounts int[]  $2 contacts bigint[]  $3 tags text[]
INSERT INTO dripd.contact_tag (account_id, contact_id, tag)
SELECT * FROM unnest($1::int4[], $2::int8[], $3::text[])
ON CONFLICT DO NOTHING;

-- name: remove_tags :exec
--   $1 accounts int[]  $2 contacts bigint[]  $3 tags text[]
DELETE FROM dripd.contact_tag AS t
USING unnest($1::int4[], $2::int8[], $3::text[]) AS k (a, c, tag)
WHERE t.account_id = k.a AND t.contact_id = k.c AND t.tag = k.tag;

-- name: make_lists :exec
-- Static buckets that a step may create.
--   $1 accounts int[]  $2 keys text[]
INSERT INTO dripd.contact_list (account_id, key)
SELECT * FROM unnest($1::int4[], $2::text[])
ON CONFLICT DO NOTHING;

-- name: add_to_lists :exec
-- A list that is not there takes nobody in; the journal says so.
--   $1 accounts int[]  $2 contacts bigint[]  $3 list keys text[]
--   $4 enrollments bigint[], 0 where there is no run
WITH wanted AS (
    SELECT k.a, k.c, k.key, k.e, l.id
    FROM unnest($1::int4[], $2::int8[], $3::text[], $4::int8[]) AS k (a, c, key, e)
    LEFT JOIN dripd.contact_list AS l ON l.account_id = k.a AND l.key = k.key
), told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT a, nullif(e, 0), c, 'noop', jsonb_build_object('reason', 'no_list', 'list', key)
    FROM wanted
    WHERE id IS NULL
)
INSERT INTO dripd.list_member (account_id, list_id, contact_id)
SELECT a, id, c
FROM wanted
WHERE id IS NOT NULL
ON CONFLICT DO NOTHING;

-- name: remove_from_lists :exec
--   $1 accounts int[]  $2 contacts bigint[]  $3 list keys text[]
DELETE FROM dripd.list_member AS m
USING unnest($1::int4[], $2::int8[], $3::text[]) AS k (a, c, key)
WHERE m.account_id = k.a AND m.contact_id = k.c
    AND m.list_id = (SELECT l.id FROM dripd.contact_list AS l WHERE l.account_id = k.a AND l.key = k.key);

-- name: set_contact :exec
-- Merge attrs (null clears) and set columns of one contact.
--   $1 account int  $2 contact bigint  $3 attrs text  $4 cleared text[]  $5 columns text (a JSON object)
UPDATE dripd.contact AS c
SET attrs = (c.attrs || $3::text::jsonb) - $4::text[],
    email = CASE WHEN n.v ? 'email' THEN n.v ->> 'email' ELSE c.email END,
    phone = CASE WHEN n.v ? 'phone' THEN n.v ->> 'phone' ELSE c.phone END,
    timezone = CASE WHEN n.v ? 'timezone' THEN n.v ->> 'timezone' ELSE c.timezone END,
    owner = CASE WHEN n.v ? 'owner' THEN n.v ->> 'owner' ELSE c.owner END,
    service_owner = CASE WHEN n.v ? 'service_owner' THEN n.v ->> 'service_owner' ELSE c.service_owner END
FROM (SELECT $5::text::jsonb AS v) AS n
WHERE c.account_id = $1::int4 AND c.id = $2::int8;

-- name: set_company :exec
-- Merge attrs (null clears) of the company of one contact.
--   $1 account int  $2 contact bigint  $3 attrs text  $4 cleared text[]
UPDATE dripd.company AS co
SET attrs = (co.attrs || $3::text::jsonb) - $4::text[]
FROM dripd.contact AS c
WHERE c.account_id = $1::int4 AND c.id = $2::int8 AND co.account_id = c.account_id AND co.id = c.company_id;

-- name: cancel_tasks :exec
-- Tasks whose steps waited for them long enough.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]
UPDATE dripd.task AS t SET state = 'cancelled', closed_by = 'dripd'
FROM unnest($1::int4[], $2::int8[], $3::int4[]) AS k (a, e, seq)
WHERE t.account_id = k.a AND t.enrollment_id = k.e AND t.seq = k.seq AND t.state = 'open';

-- name: make_task :one
-- A task, once for its step, and the notification about it.
--   $1 account int  $2 enrollment bigint  $3 contact bigint  $4 seq int  $5 campaign key  $6 step key  $7 kind
--   $8 title  $9 assignee  $10 due timestamptz  $11 reminder timestamptz  $12 payload text
--   $13 recipient text: told at the reminder, at once where there is none  $14 awaited boolean  $15 category text
WITH made AS (
    INSERT INTO dripd.task (account_id, enrollment_id, contact_id, seq, campaign_key, step_key, kind, title, assignee,
        due_at, reminder_at, payload, recipient, awaited, category)
    VALUES ($1::int4, $2::int8, $3::int8, $4::int4, $5::text, $6::text, $7::text, $8::text, $9::text,
        $10::timestamptz, $11::timestamptz, $12::text::jsonb,
        CASE WHEN $11::timestamptz IS NOT NULL THEN $13::text END, $14::boolean,
        $15::text)
    ON CONFLICT DO NOTHING
    RETURNING account_id, id, enrollment_id, title, payload
), told AS (
    INSERT INTO dripd.notification (account_id, kind, recipient, enrollment_id, task_id, payload)
    SELECT account_id, 'task_due', $13::text, enrollment_id, id,
        jsonb_strip_nulls(jsonb_build_object('title', title, 'no_free_time', payload -> 'no_free_time'))
    FROM made
    WHERE $13::text IS NOT NULL AND $11::timestamptz IS NULL
)
SELECT id FROM made;

-- name: lock_rota :many
-- How often each member of a category was given something to do; new members begin at none.
--   $1 account int  $2 campaign key  $3 category  $4 members text[], sorted
-- locks: the rota's rows
INSERT INTO dripd.rota (account_id, campaign_key, category, member)
SELECT $1::int4, $2::text, $3::text, member FROM unnest($4::text[]) AS member
ON CONFLICT (account_id, campaign_key, category, member) DO UPDATE SET given = rota.given
RETURNING member, given;

-- name: give_turns :exec
--   $1 account int  $2 campaign key  $3 category  $4 members text[]  $5 how many more int[]
UPDATE dripd.rota AS r
SET given = r.given + k.n
FROM unnest($4::text[], $5::int4[]) AS k (member, n)
WHERE r.account_id = $1::int4 AND r.campaign_key = $2::text AND r.category = $3::text AND r.member = k.member;

-- name: read_diary :many
-- When a person is busy.
--   $1 account int  $2 person text  $3 from timestamptz  $4 to timestamptz
SELECT greatest(lower(busy), $3::timestamptz) AS begins, least(upper(busy), $4::timestamptz) AS ends
FROM dripd.diary
WHERE account_id = $1::int4 AND person = $2::text AND busy && tstzrange($3::timestamptz, $4::timestamptz)
    AND int8range(whose, whose, '[]')
        && int8range(hashtextextended($2::text, $1::int4), hashtextextended($2::text, $1::int4), '[]');

-- name: reserve_time :one
-- A time in a diary, unless somebody else has taken it meanwhile.
--   $1 account int  $2 person text  $3 from timestamptz  $4 to timestamptz
INSERT INTO dripd.diary (account_id, person, busy)
VALUES ($1::int4, $2::text, tstzrange($3::timestamptz, $4::timestamptz))
ON CONFLICT DO NOTHING
RETURNING id;

-- name: count_individual :exec
-- Messages to people of the house, on the day of their lease.
--   $1 accounts int[]  $2 dates date[]  $3 counts int[]
-- locks: account_day rows, sorted by the caller
UPDATE dripd.account_day AS ad
SET individual = ad.individual + k.n
FROM unnest($1::int4[], $2::date[], $3::int4[]) AS k (a, d, n)
WHERE ad.account_id = k.a AND ad.local_date = k.d;

-- name: watch_replies :exec
-- Messages of which somebody is told if no reply comes.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]  $4 contacts bigint[]  $5 step keys text[]
--   $6 recipients text[]  $7 due timestamptz[]
INSERT INTO dripd.reply_watch (account_id, enrollment_id, seq, contact_id, step_key, recipient, due_at)
SELECT * FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::int8[], $5::text[], $6::text[], $7::timestamptz[])
ON CONFLICT DO NOTHING;

-- name: reset_own_runs :exec
-- Runs that reset their own campaign go on; neither they nor those before them count as runs any more.
--   $1 accounts int[]  $2 contacts bigint[]  $3 enrollments bigint[]
UPDATE dripd.run AS r
SET reset_at = (SELECT dripd.now()), entered = NULL,
    reentry = CASE WHEN r.id = k.e AND r.status = 1 AND r.reentry IS NOT NULL THEN 2::int2 END
FROM unnest($1::int4[], $2::int8[], $3::int8[]) AS k (a, contact, e)
JOIN dripd.run AS own ON own.account_id = k.a AND own.id = k.e
WHERE r.account_id = k.a AND r.contact_id = k.contact AND r.campaign_id = own.campaign_id
    AND (r.id = k.e OR r.status > 1 AND r.reset_at IS NULL);

-- name: tell_resets :exec
-- Resets of other campaigns: the inbox ends what runs there.
--   $1 accounts int[]  $2 contacts bigint[]  $3 campaign keys text[]
INSERT INTO dripd.event_in (account_id, contact_id, kind, payload, internal)
SELECT a, contact, 'reset', jsonb_build_object('campaign', key), true
FROM unnest($1::int4[], $2::int8[], $3::text[]) AS k (a, contact, key);

-- name: journal :exec
--   $1 accounts int[]  $2 enrollments bigint[]  $3 contacts bigint[]  $4 kinds text[]  $5 details text[]
INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
SELECT a, e, c, kind, detail::jsonb
FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::text[], $5::text[]) AS k (a, e, c, kind, detail);

-- name: request_move :one
-- The request that a `move` step makes; it is decided in the same transaction.
--   $1 account int  $2 campaign key  $3 enrollment bigint  $4 source text
INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id, source, conversation_ref, vars)
SELECT r.account_id, $2::text, r.contact_id, $4::text, r.conversation_ref, r.vars
FROM dripd.run AS r
WHERE r.account_id = $1::int4 AND r.id = $3::int8
RETURNING id;

-- name: refuse_moves :many
-- Runs that another campaign has not taken did not move: step and run end as `unable:WHY`.
--   $1 accounts int[]  $2 enrollments bigint[]  $3 seq int[]  $4 requests bigint[], beside them
-- locks: step_log rows, then the runs
WITH stayed AS (
    SELECT k.a, k.e, k.seq, 'unable:' || q.reject_reason AS why
    FROM unnest($1::int4[], $2::int8[], $3::int4[], $4::int8[]) AS k (a, e, seq, request)
    JOIN dripd.enroll_request AS q ON q.id = k.request AND q.status = 'rejected'
), told AS (
    UPDATE dripd.step_log AS l
    SET state = 2, reason = s.why
    FROM stayed AS s
    WHERE l.account_id = s.a AND l.enrollment_id = s.e AND l.seq = s.seq AND l.state = 5
)
UPDATE dripd.run AS r
SET end_reason = s.why
FROM stayed AS s
WHERE r.account_id = s.a AND r.id = s.e
RETURNING r.account_id, r.id;

-- name: count_first :many
-- How the first steps of versions came out; adds, and answers with all there are.
--   $1 accounts int[]  $2 versions int[]  $3 done int[]  $4 failed int[]  $5 how many are the first int
-- locks: first_steps rows, sorted by the caller
INSERT INTO dripd.first_steps AS f (account_id, cv_id, done, failed)
SELECT * FROM unnest($1::int4[], $2::int4[], $3::int4[], $4::int4[])
ON CONFLICT (account_id, cv_id) DO UPDATE SET done = f.done + excluded.done,
    failed = f.failed + CASE WHEN f.done < $5::int4 THEN excluded.failed ELSE 0 END
RETURNING account_id, cv_id, done, failed;

-- name: pause_failing :many
-- The campaign of which this is the live version is paused, with an audit, a line of the journal and a notice.
--   $1 account int  $2 version int  $3 done int  $4 failed int
-- locks: the campaign
WITH sick AS (
    UPDATE dripd.campaign
    SET status = 'paused', pause_mode = 'failing'
    WHERE account_id = $1::int4 AND live_cv_id = $2::int4 AND status IN ('active', 'draining')
    RETURNING account_id, key, owner
), over AS (
    DELETE FROM dripd.first_steps WHERE account_id = $1::int4 AND cv_id = $2::int4
), told AS (
    SELECT s.*, jsonb_build_object('campaign', s.key, 'status', 'paused', 'failed', $4::int4, 'of', $3::int4) AS detail
    FROM sick AS s
), noted AS (
    INSERT INTO dripd.journal_log (account_id, kind, detail) SELECT account_id, 'paused', detail FROM told
), notice AS (
    INSERT INTO dripd.notification (account_id, kind, recipient, payload)
    SELECT account_id, 'paused', owner, detail FROM told
), seen AS (
    INSERT INTO dripd.nudge (account_id) SELECT account_id FROM sick
)
INSERT INTO dripd.admin_audit (node, "user", role, method, account_id, target, reason, detail, result)
SELECT 'dripd', 'dripd', 'daemon', 'campaign.pause', account_id, key,
    format('%s of its first %s steps failed', $4::int4, $3::int4), detail, 'changed'
FROM told
RETURNING target;
