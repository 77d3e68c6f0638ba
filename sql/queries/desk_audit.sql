-- name: find_double_messages :many
-- Steps of an account for which more than one message was accepted, or may have been: there must be none.
--   $1 account  int4
SELECT l.enrollment_id::text || ' ' || s.key AS found
FROM dripd.step_log AS l
JOIN dripd.version_step AS s ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
WHERE l.account_id = $1::int4 AND l.state IN (1, 3) AND l.channel > 0
GROUP BY l.enrollment_id, l.run_no, s.key
HAVING count(*) > 1
LIMIT 20;

-- name: find_lost_runs :many
-- Live runs of an account that nothing will ever come up for: there must be none.
--   $1 account  int4
SELECT r.id::text AS found
FROM dripd.run AS r
WHERE r.account_id = $1::int4 AND r.status = 1
    AND NOT EXISTS (SELECT FROM dripd.due_step AS d WHERE d.account_id = r.account_id AND d.enrollment_id = r.id)
LIMIT 20;

-- name: find_steps_after_the_end :many
-- Of runs of an account that have ended, or are not there: steps that are still due, and those leased after the end.
-- One that was leased before its run was stopped bears the mark -1 until its outcome is recorded.
--   $1 account  int4
SELECT d.enrollment_id || ' is still due' AS found
FROM dripd.due_step AS d
LEFT JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id
WHERE d.account_id = $1::int4 AND r.status IS DISTINCT FROM 1
    AND NOT (d.attempt = -1 AND d.claim_id IS NOT NULL AND r.id IS NOT NULL)
UNION ALL
SELECT l.enrollment_id || '-' || l.seq || ' was leased after the end'
FROM dripd.step_log AS l
JOIN dripd.run AS r ON r.account_id = l.account_id AND r.id = l.enrollment_id
WHERE l.account_id = $1::int4 AND r.status <> 1 AND l.leased_at > r.ended_at
LIMIT 20;

-- name: find_suppressed_messages :many
-- Messages of an account that were leased, and left or may have left, more than a minute after their address was
-- suppressed: there must be none. A suppression bears the instant of its statement, not of its commit.
--   $1 account  int4
SELECT l.enrollment_id || '-' || l.seq AS found
FROM dripd.suppression AS s
JOIN dripd.step_log AS l
    ON dripd.address_hash(l.to_address) = s.address_h
    AND l.channel = CASE s.channel WHEN 'email' THEN 1 ELSE 2 END
    AND l.leased_at > s.created_at + interval '1 minute'
    AND (s.expires_at IS NULL OR l.leased_at < s.expires_at)
WHERE l.account_id = $1::int4 AND s.account_id IN (0, $1::int4) AND l.state IN (1, 3)
LIMIT 20;

-- name: find_repeated_steps :many
-- Steps of an account that came to more than one outcome: there must be none. One that failed may have been released.
--   $1 account  int4
SELECT l.enrollment_id || '-' || l.seq AS found
FROM dripd.step_log AS l
WHERE l.account_id = $1::int4 AND l.state IN (1, 3, 4, 5, 6)
GROUP BY l.enrollment_id, l.seq
HAVING count(*) > 1
LIMIT 20;

-- name: find_missing_steps :many
-- Runs of an account with a step that came to no outcome though later ones did: there must be none. What retention
-- has dropped is not looked for.
--   $1 account  int4
WITH told AS (
    SELECT l.enrollment_id, l.seq FROM dripd.step_log AS l WHERE l.account_id = $1::int4 AND l.state > 0
    UNION
    SELECT d.enrollment_id, d.seq FROM dripd.due_step AS d WHERE d.account_id = $1::int4
)
SELECT enrollment_id::text AS found
FROM told
GROUP BY enrollment_id
HAVING max(seq) - min(seq) + 1 <> count(*)
LIMIT 20;

-- name: find_disordered_steps :many
-- Steps of an account that were leased before the step that comes before them: there must be none.
--   $1 account  int4
SELECT o.enrollment_id || '-' || o.seq AS found
FROM (
    SELECT l.enrollment_id, l.seq, l.leased_at,
        lag(l.leased_at) OVER (PARTITION BY l.enrollment_id ORDER BY l.seq, l.leased_at) AS before
    FROM dripd.step_log AS l
    WHERE l.account_id = $1::int4 AND l.state > 0
) AS o
WHERE o.leased_at < o.before
LIMIT 20;

-- name: find_repeated_input :many
-- What was told to an account twice under one key and had two effects: requests and events. There must be none.
--   $1 account  int4
SELECT 'request ' || min(q.id) AS found
FROM dripd.enroll_request AS q
WHERE q.account_id = $1::int4 AND q.status = 'accepted' AND q.idempotency_key <> ''
GROUP BY q.idempotency_key
HAVING count(DISTINCT q.enrollment_id) > 1
UNION ALL
SELECT 'event ' || min(e.id)
FROM dripd.event_log AS e
WHERE e.account_id = $1::int4 AND e.dedup_key <> '' AND e.refused_reason IS NULL
GROUP BY e.dedup_key
HAVING count(DISTINCT e.id) > 1
LIMIT 20;

-- name: find_money_faults :many
-- Where the ledger of an account is not what was charged, sent and refunded: there must be none.
--   $1 account  int4
SELECT f.fault || coalesce(' ' || f.enrollment_id, '') AS found
FROM dripd.ledger_fault AS f
WHERE f.account_id = $1::int4
LIMIT 20;

-- name: find_unexplained_ends :many
-- Runs of an account that ended without saying why: there must be none.
--   $1 account  int4
SELECT r.id::text AS found
FROM dripd.run AS r
WHERE r.account_id = $1::int4 AND r.status <> 1 AND coalesce(r.end_reason, '') = ''
LIMIT 20;

-- name: find_days_over_cap :many
-- Local days of an account with more messages than its cap is now (a plan lowered since shows here).
--   $1 account  int4
SELECT d.local_date::text || ': ' || d.used || ' of ' || d.cap AS found
FROM dripd.account_day AS d
WHERE d.account_id = $1::int4 AND d.used > d.cap
ORDER BY d.local_date
LIMIT 20;

-- name: list_audited_accounts :many
SELECT id, key FROM dripd.account ORDER BY id;

-- name: audit_is_guarded :one
-- Whether the audit and the journal still refuse to be changed.
SELECT count(*) = 2 AS guarded
FROM pg_trigger AS t
WHERE t.tgrelid IN ('dripd.admin_audit'::regclass, 'dripd.journal_log'::regclass)
    AND t.tgname IN ('audit_is_insert_only', 'journal_is_insert_only')
    AND t.tgenabled IN ('O', 'A');
