-- name: read_definition :one
--   $1 account  $2 campaign  $3 version
SELECT definition, shared
FROM dripd.campaign_version
WHERE account_id = $1::int4
    AND campaign_id = $2::int4
    AND version = $3::int4;

-- name: note_campaign :exec
-- A line of the journal about a campaign.
--   $1 account  $2 actor  $3 kind  $4 detail
INSERT INTO dripd.journal_log (account_id, actor, kind, detail)
VALUES ($1::int4, $2::text, $3::text, $4::jsonb);

-- name: make_trigger :one
-- A trigger, from now on; one that is there stays as it is.
--   $1 account  $2 campaign  $3 key  $4 kind  $5 match  $6 origin  $7 actor
INSERT INTO dripd.campaign_trigger (account_id, campaign_id, campaign_key, kind, match, origin,
    created_by)
VALUES ($1::int4, $2::int4, $3::text, $4::text, $5::jsonb, $6::text, $7::text)
ON CONFLICT (account_id, campaign_id, kind, match) DO NOTHING
RETURNING id, account_id, campaign_key, kind, match, origin, created_at, created_by;

-- name: find_trigger :one
--   $1 account  $2 campaign  $3 kind  $4 match
SELECT id, account_id, campaign_key, kind, match, origin, created_at, created_by
FROM dripd.campaign_trigger
WHERE account_id = $1::int4
    AND campaign_id = $2::int4
    AND kind = $3::text
    AND match = $4::jsonb;

-- name: drop_trigger :one
--   $1 account  $2 campaign  $3 kind  $4 match
DELETE FROM dripd.campaign_trigger
WHERE account_id = $1::int4
    AND campaign_id = $2::int4
    AND kind = $3::text
    AND match = $4::jsonb
RETURNING id, account_id, campaign_key, kind, match, origin, created_at, created_by;

-- name: list_triggers :many
--   $1 account  $2 campaign
SELECT id, account_id, campaign_key, kind, match, origin, created_at, created_by
FROM dripd.campaign_trigger
WHERE account_id = $1::int4
    AND campaign_id = $2::int4
ORDER BY id;

-- name: turn_campaign :exec
--   $1 account  $2 id  $3 status  $4 mode
UPDATE dripd.campaign
SET status = $3::text,
    pause_mode = $4::text
WHERE account_id = $1::int4
    AND id = $2::int4;

-- name: forget_first_steps :exec
-- Somebody lets a campaign run: its first steps are counted anew.
--   $1 account  $2 campaign
DELETE FROM dripd.first_steps AS f
USING dripd.campaign_version AS v
WHERE f.account_id = $1::int4
    AND v.account_id = f.account_id
    AND v.id = f.cv_id
    AND v.campaign_id = $2::int4;

-- name: paused_since :one
-- Since when a campaign has stood still, as the journal has it.
--   $1 account  $2 campaign key
SELECT max(at) AS at
FROM dripd.journal_log
WHERE account_id = $1::int4
    AND kind IN ('paused', 'deactivated')
    AND enrollment_id IS NULL
    AND detail ->> 'campaign' = $2::text;

-- name: shift_dues :exec
-- What was not due yet when the campaign stood still comes up as much later.
--   $1 account  $2 campaign  $3 since
UPDATE dripd.due_step AS d
SET due_at = d.due_at + ((SELECT dripd.now()) - $3::timestamptz)
WHERE d.account_id = $1::int4
    AND d.lane >= 0
    AND d.claim_id IS NULL
    AND d.due_at > $3::timestamptz
    AND d.cv_id IN (
        SELECT v.id FROM dripd.campaign_version AS v
        WHERE v.account_id = $1::int4 AND v.campaign_id = $2::int4);

-- name: list_campaigns :many
-- Campaigns by id.
--   $1 account  $2 board  $3 status  $4 after  $5 most; NULL = any
SELECT c.id, c.account_id, c.key, c.name, c.goal_text, c.status, c.live_version, c.has_draft,
    c.owner, c.board, c.created_at, a.key AS account_key
FROM dripd.campaign AS c
JOIN dripd.account AS a ON a.id = c.account_id
WHERE ($1::int4 IS NULL OR c.account_id = $1::int4)
    AND ($2::text IS NULL OR c.board = $2::text)
    AND ($3::text IS NULL OR c.status = $3::text)
    AND c.id > $4::int8
ORDER BY c.id
LIMIT $5::int4;

-- name: count_some_runs :one
-- How many runs an account has, up to a number.
--   $1 account  int4
--   $2 most     int4
SELECT count(*)::int4
FROM (SELECT FROM dripd.run WHERE account_id = $1::int4 LIMIT $2::int4) AS part;
