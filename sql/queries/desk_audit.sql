-- name: find_double_messages :many
-- Steps of an account for which more than one message was accepted: there must be none.
--   $1 account  int4
SELECT l.enrollment_id::text || ' ' || s.key AS found
FROM dripd.step_log AS l
JOIN dripd.version_step AS s ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
WHERE l.account_id = $1::int4 AND l.state = 1 AND l.channel > 0
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

-- name: find_ended_due_steps :many
-- Due steps of an account whose run has ended or is not there: there must be none.
--   $1 account  int4
SELECT d.enrollment_id::text AS found
FROM dripd.due_step AS d
LEFT JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id
WHERE d.account_id = $1::int4 AND r.status IS DISTINCT FROM 1
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
