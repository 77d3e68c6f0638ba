-- name: live_step_keys :one
-- Every step key of the versions in which live runs of a campaign wait.
--   $1 account  $2 campaign
SELECT ARRAY(
    SELECT DISTINCT s.key
    FROM dripd.version_step AS s
    JOIN dripd.campaign_version AS v ON v.account_id = s.account_id AND v.id = s.cv_id
    WHERE v.account_id = $1::int4
        AND v.campaign_id = $2::int4
        AND EXISTS (SELECT FROM dripd.due_step AS d WHERE d.account_id = v.account_id AND d.cv_id = v.id)) AS keys;

-- name: group_live_runs :many
-- The live runs of a campaign that are not on a version yet, by where they wait.
--   $1 account  $2 campaign  $3 version id that they are to be on
SELECT d.account_id, d.cv_id, d.step_no, d.lane, d.flags, k.timezone,
    (count(*) FILTER (WHERE d.claim_id IS NULL))::int4 AS n,
    (count(*) FILTER (WHERE d.claim_id IS NOT NULL))::int4 AS leased,
    ARRAY(SELECT s.key FROM dripd.version_step AS s
        WHERE s.account_id = d.account_id AND s.cv_id = d.cv_id ORDER BY s.step_no) AS keys
FROM dripd.due_step AS d
JOIN dripd.campaign_version AS v ON v.account_id = d.account_id AND v.id = d.cv_id
LEFT JOIN dripd.contact AS k ON k.account_id = d.account_id AND k.id = d.contact_id
WHERE d.account_id = $1::int4
    AND v.campaign_id = $2::int4
    AND d.cv_id <> $3::int4
    AND d.attempt >= 0
GROUP BY d.account_id, d.cv_id, d.step_no, d.lane, d.flags, k.timezone
ORDER BY d.cv_id, d.step_no, d.lane, d.flags, k.timezone;

-- name: count_left_behind :one
-- Live runs of a campaign that are not on a version yet: in flight, in doubt, or leased while the others passed to it.
--   $1 account  $2 campaign  $3 version id that they are to be on
SELECT count(*)::int4 AS n
FROM dripd.due_step AS d
JOIN dripd.campaign_version AS v ON v.account_id = d.account_id AND v.id = d.cv_id
WHERE d.account_id = $1::int4
    AND v.campaign_id = $2::int4
    AND d.cv_id <> $3::int4
    AND d.attempt >= 0;

-- name: find_sent_ahead :one
-- A message among $5 that a run which waits there was sent, or may have been.
--   $1 account  $2 version id  $3 step  $4 lane  $5 step keys text[]
SELECT s.key
FROM dripd.due_step AS d
JOIN dripd.step_log AS l ON l.account_id = d.account_id AND l.enrollment_id = d.enrollment_id
JOIN dripd.version_step AS s ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
WHERE d.account_id = $1::int4
    AND d.cv_id = $2::int4
    AND d.step_no = $3::int2
    AND d.lane = $4::int2
    AND l.channel > 0
    AND l.state IN (1, 3)
    AND s.key = ANY ($5::text[])
LIMIT 1;

-- name: migrate_waiting :exec
-- Runs that wait at a step that stays pass to another version; what remained of their delay remains.
--   $1 account  $2 version id  $3 step  $4 lane  $5 contact's zone  $6 flags  $7 new version id  $8 new step  $9 new lane
-- locks: due_step and run rows
WITH moved AS (
    UPDATE dripd.due_step AS d
    SET cv_id = $7::int4, step_no = $8::int2, lane = $9::int2
    FROM dripd.contact AS k
    WHERE d.account_id = $1::int4 AND d.cv_id = $2::int4 AND d.step_no = $3::int2 AND d.lane = $4::int2
        AND d.flags = $6::int2
        AND d.claim_id IS NULL AND d.attempt >= 0
        AND k.account_id = d.account_id AND k.id = d.contact_id AND k.timezone IS NOT DISTINCT FROM $5::text
    RETURNING d.account_id, d.enrollment_id
)
UPDATE dripd.run AS r
SET cv_id = $7::int4
FROM moved AS m
WHERE r.account_id = m.account_id AND r.id = m.enrollment_id;

-- name: migrate_held :exec
-- Runs that wait for a person at a step that stays: they go on waiting.
--   $1 account  $2 version id  $3 step  $4 lane  $5 contact's zone  $6 flags  $7 new version id  $8 new step
-- locks: due_step and run rows
WITH moved AS (
    UPDATE dripd.due_step AS d
    SET cv_id = $7::int4, step_no = $8::int2
    FROM dripd.contact AS k
    WHERE d.account_id = $1::int4 AND d.cv_id = $2::int4 AND d.step_no = $3::int2 AND d.lane = $4::int2
        AND d.flags = $6::int2
        AND d.claim_id IS NULL AND d.attempt >= 0
        AND k.account_id = d.account_id AND k.id = d.contact_id AND k.timezone IS NOT DISTINCT FROM $5::text
    RETURNING d.account_id, d.enrollment_id
)
UPDATE dripd.run AS r
SET cv_id = $7::int4
FROM moved AS m
WHERE r.account_id = m.account_id AND r.id = m.enrollment_id;

-- name: migrate_lacking :exec
-- Runs that are held at a step that stays, for want of something that it may want no more: it is judged anew there.
--   $1 account  $2 version id  $3 step  $4 lane  $5 contact's zone  $6 flags  $7 new version id  $8 new step  $9 new lane
-- locks: due_step and run rows
WITH moved AS (
    UPDATE dripd.due_step AS d
    SET cv_id = $7::int4, step_no = $8::int2, lane = CASE WHEN q.hold_reason = 'quarantined' THEN d.lane ELSE $9::int2 END
    FROM dripd.contact AS k, dripd.run AS q
    WHERE d.account_id = $1::int4 AND d.cv_id = $2::int4 AND d.step_no = $3::int2 AND d.lane = $4::int2
        AND d.flags = $6::int2
        AND d.claim_id IS NULL AND d.attempt >= 0
        AND k.account_id = d.account_id AND k.id = d.contact_id AND k.timezone IS NOT DISTINCT FROM $5::text
        AND q.account_id = d.account_id AND q.id = d.enrollment_id
    RETURNING d.account_id, d.enrollment_id, d.lane
), told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT r.account_id, r.id, r.contact_id, 'released', jsonb_build_object('reason', r.hold_reason, 'seq', d.seq)
    FROM moved AS m
    JOIN dripd.run AS r ON r.account_id = m.account_id AND r.id = m.enrollment_id
    JOIN dripd.due_step AS d ON d.account_id = m.account_id AND d.enrollment_id = m.enrollment_id  -- as it stood
    WHERE r.hold_reason IS NOT NULL AND d.flags & 32 = 0 AND m.lane >= 0
)
UPDATE dripd.run AS r
SET cv_id = $7::int4,
    hold_reason = CASE WHEN m.lane = -1 THEN r.hold_reason END,
    release_at = CASE WHEN m.lane = -1 THEN r.release_at END
FROM moved AS m
WHERE r.account_id = m.account_id AND r.id = m.enrollment_id;

-- name: migrate_onward :exec
-- Runs whose step is no more pass to another one: what remained of their delay remains, what held them or was asked of
-- a person is no more. A step that was begun keeps its number, so that nothing that is known of it is the next one's.
--   $1 account  $2 version id  $3 step  $4 lane  $5 contact's zone  $6 flags  $7 new version id  $8 new step  $9 new lane
-- locks: due_step, run and task rows
WITH moved AS (
    UPDATE dripd.due_step AS d
    SET cv_id = $7::int4, step_no = $8::int2, lane = $9::int2, flags = d.flags & 1::int2, attempt = 0,
        seq = d.seq + CASE WHEN d.flags & 140 = 0 THEN 0 ELSE 1 END,  -- it waited, was approved or tried
        due_at = CASE WHEN q.hold_reason IS NULL THEN d.due_at ELSE (SELECT dripd.now()) END
    FROM dripd.contact AS k, dripd.run AS q
    WHERE d.account_id = $1::int4 AND d.cv_id = $2::int4 AND d.step_no = $3::int2 AND d.lane = $4::int2
        AND d.flags = $6::int2
        AND d.claim_id IS NULL AND d.attempt >= 0
        AND k.account_id = d.account_id AND k.id = d.contact_id AND k.timezone IS NOT DISTINCT FROM $5::text
        AND q.account_id = d.account_id AND q.id = d.enrollment_id
    RETURNING d.account_id, d.enrollment_id
), closed AS (
    UPDATE dripd.task AS t
    SET state = 'cancelled', closed_by = 'dripd'
    FROM moved AS m
    WHERE t.account_id = m.account_id AND t.enrollment_id = m.enrollment_id AND t.awaited AND t.state = 'open'
), told AS (
    INSERT INTO dripd.journal_log (account_id, enrollment_id, contact_id, kind, detail)
    SELECT r.account_id, r.id, r.contact_id, 'released', jsonb_build_object('reason', r.hold_reason, 'seq', d.seq)
    FROM moved AS m
    JOIN dripd.run AS r ON r.account_id = m.account_id AND r.id = m.enrollment_id
    JOIN dripd.due_step AS d ON d.account_id = m.account_id AND d.enrollment_id = m.enrollment_id  -- as it stood
    WHERE r.hold_reason IS NOT NULL AND d.flags & 32 = 0
)
UPDATE dripd.run AS r
SET cv_id = $7::int4, hold_reason = NULL, release_at = NULL
FROM moved AS m
WHERE r.account_id = m.account_id AND r.id = m.enrollment_id;

-- name: free_migrated :exec
-- Runs that passed to a version which is not exclusive as theirs was: their contacts are free for others.
--   $1 account  $2 version id  $3 exclusive scope
-- locks: run rows
UPDATE dripd.run AS r
SET exclusive = NULL
FROM dripd.due_step AS d
WHERE d.account_id = $1::int4 AND d.cv_id = $2::int4
    AND r.account_id = d.account_id AND r.id = d.enrollment_id AND r.cv_id = $2::int4 AND r.exclusive <> $3::text;

-- name: complete_migrated :exec
-- Runs that wait at a step of which nothing is left in the new version: they have done all there is, and nothing is
-- asked of a person any more. One that is being leased is waited for, and goes on.
--   $1 account  $2 version id  $3 step  $4 lane  $5 contact's zone  $6 flags  $7 status
-- locks: due_step rows, then run and task rows
WITH gone AS (
    DELETE FROM dripd.due_step AS d
    USING dripd.contact AS k
    WHERE d.account_id = $1::int4 AND d.cv_id = $2::int4 AND d.step_no = $3::int2 AND d.lane = $4::int2
        AND d.flags = $6::int2
        AND d.claim_id IS NULL AND d.attempt >= 0
        AND k.account_id = d.account_id AND k.id = d.contact_id AND k.timezone IS NOT DISTINCT FROM $5::text
    RETURNING d.account_id, d.enrollment_id
), closed AS (
    UPDATE dripd.task AS t
    SET state = 'cancelled', closed_by = 'dripd'
    FROM gone AS g
    WHERE t.account_id = g.account_id AND t.enrollment_id = g.enrollment_id AND t.awaited AND t.state = 'open'
)
UPDATE dripd.run AS r
SET status = $7::int2, end_reason = 'completed', ended_at = (SELECT dripd.now()), exclusive = NULL, hold_reason = NULL,
    release_at = NULL, reentry = nullif(r.reentry, 2::int2)
FROM gone AS g
WHERE r.account_id = g.account_id AND r.id = g.enrollment_id AND r.status = 1;
