-- name: read_known :one
-- What an account has that a campaign file may name.
--   $1 account  int4
SELECT p.features,
    (SELECT coalesce(jsonb_object_agg(f.key, f.type), '{}')
        FROM dripd.field AS f
        WHERE f.account_id = a.id AND f.target = 'contact') AS fields,
    (SELECT coalesce(jsonb_object_agg(l.key, l.is_static), '{}')
        FROM dripd.contact_list AS l WHERE l.account_id = a.id) AS lists,
    (SELECT coalesce(jsonb_object_agg(s.address, s.channel), '{}')
        FROM dripd.sender AS s WHERE s.account_id = a.id) AS senders,
    (SELECT coalesce(jsonb_object_agg(s.address, s.provider), '{}')
        FROM dripd.sender AS s WHERE s.account_id = a.id) AS providers,
    ARRAY(SELECT k.key FROM dripd.connector AS k WHERE k.account_id = a.id) AS connectors,
    (SELECT coalesce(jsonb_object_agg(t.key, jsonb_build_object('subject', t.subject, 'text', t.text, 'html', t.html)), '{}')
        FROM dripd.template AS t WHERE t.account_id = a.id) AS templates,
    (SELECT coalesce(jsonb_object_agg(c.key, c.name), '{}')
        FROM dripd.campaign AS c
        WHERE c.account_id = a.id AND c.status <> 'archived') AS campaigns,
    (SELECT coalesce(jsonb_object_agg(c.key, v.definition), '{}')
        FROM dripd.campaign AS c
        JOIN dripd.campaign_version AS v ON v.account_id = c.account_id AND v.id = c.live_cv_id
        WHERE c.account_id = a.id AND c.status <> 'archived'
            AND EXISTS (SELECT FROM dripd.version_step AS s
                WHERE s.account_id = v.account_id AND s.cv_id = v.id AND s.kind = 'move')) AS movers
FROM dripd.account AS a
JOIN dripd.plan AS p ON p.key = a.plan
WHERE a.id = $1::int4;

-- name: find_more_fields :many
-- The attrs keys of up to 200 contacts that carry one which is not in $2.
--   $1 account  int4
--   $2 seen     text[]
SELECT DISTINCT jsonb_object_keys(more.attrs) AS key
FROM (
    SELECT c.attrs - $2::text[] AS attrs
    FROM dripd.contact AS c
    WHERE c.account_id = $1::int4
        AND CASE jsonb_typeof(c.attrs) WHEN 'object' THEN c.attrs - $2::text[] <> '{}' END
    LIMIT 200
) AS more;

-- name: read_definition :one
--   $1 account  $2 campaign  $3 version
SELECT definition, shared
FROM dripd.campaign_version
WHERE account_id = $1::int4
    AND campaign_id = $2::int4
    AND version = $3::int4;

-- name: count_live_runs :one
-- The live runs of a campaign, by their due steps.
--   $1 account   int4
--   $2 campaign  int4
SELECT count(*)::int4 AS n
FROM dripd.due_step AS d
WHERE d.account_id = $1::int4
    AND d.attempt >= 0
    AND d.cv_id IN (
        SELECT v.id FROM dripd.campaign_version AS v
        WHERE v.account_id = $1::int4 AND v.campaign_id = $2::int4);

-- name: make_campaign :exec
-- A campaign that is only a draft yet.
--   $1 account  $2 key  $3 name  $4 goal  $5 owner  $6 board  $7 draft
INSERT INTO dripd.campaign (account_id, key, name, goal_text, owner, board, draft)
VALUES ($1::int4, $2::text, $3::text, $4::text, $5::text, $6::text, $7::jsonb);

-- name: put_draft :exec
-- Another draft; a campaign without a version is called as its draft says.
--   $1 account  $2 id  $3 draft  $4 name  $5 goal  $6 owner  $7 board
UPDATE dripd.campaign
SET draft = $3::jsonb,
    name = CASE WHEN live_version IS NULL THEN $4::text ELSE name END,
    goal_text = CASE WHEN live_version IS NULL THEN $5::text ELSE goal_text END,
    owner = CASE WHEN live_version IS NULL THEN $6::text ELSE owner END,
    board = CASE WHEN live_version IS NULL THEN $7::text ELSE board END
WHERE account_id = $1::int4
    AND id = $2::int4;

-- name: drop_draft :exec
--   $1 account  $2 id
UPDATE dripd.campaign
SET draft = NULL
WHERE account_id = $1::int4
    AND id = $2::int4;

-- name: make_version :one
-- The next version of a campaign whose row is locked.
--   $1 account  $2 campaign  $3 key  $4 definition  $5 actor  $6 shared templates
INSERT INTO dripd.campaign_version (account_id, campaign_id, campaign_key, version, definition,
    published_at, published_by, shared)
SELECT $1::int4, $2::int4, $3::text, coalesce(max(v.version), 0) + 1, $4::jsonb,
    (SELECT dripd.now()), $5::text, $6::jsonb
FROM dripd.campaign_version AS v
WHERE v.account_id = $1::int4
    AND v.campaign_id = $2::int4
RETURNING id, version;

-- name: make_version_steps :exec
-- The steps of a version, in order.
--   $1 account  $2 version id  $3 keys  $4 kinds  $5 names
INSERT INTO dripd.version_step (account_id, cv_id, step_no, key, kind, name)
SELECT $1::int4, $2::int4, (k.n - 1)::int2, k.key, k.kind, k.name
FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY AS k (key, kind, name, n);

-- name: declare_fields :exec
-- What a version declares is a field of its account from then on; one that is there keeps its type.
--   $1 account int4  $2 keys text[]  $3 types text[]
INSERT INTO dripd.field (account_id, key, type)
SELECT $1::int4, key, type FROM unnest($2::text[], $3::text[]) AS k (key, type)
ON CONFLICT DO NOTHING;

-- name: switch_version :exec
-- The campaign is what its draft said; $9 lets it accept at once.
--   $1 account  $2 id  $3 version  $4 version id  $5 name  $6 goal  $7 owner  $8 board
--   $9 activate
UPDATE dripd.campaign
SET live_version = $3::int4,
    live_cv_id = $4::int4,
    draft = NULL,
    name = $5::text,
    goal_text = $6::text,
    owner = $7::text,
    board = $8::text,
    status = CASE
        WHEN $9::boolean THEN 'active'
        WHEN status = 'draft' THEN 'inactive'
        ELSE status
    END
WHERE account_id = $1::int4
    AND id = $2::int4;

-- name: note_campaign :exec
-- A line of the journal about a campaign.
--   $1 account  $2 actor  $3 kind  $4 detail
INSERT INTO dripd.journal_log (account_id, actor, kind, detail)
VALUES ($1::int4, $2::text, $3::text, $4::jsonb);

-- name: drop_file_triggers :exec
-- Triggers that the file gave and gives no more.
--   $1 account  $2 campaign  $3 kinds  $4 matches
DELETE FROM dripd.campaign_trigger
WHERE account_id = $1::int4
    AND campaign_id = $2::int4
    AND origin = 'file'
    AND (kind, match) NOT IN (
        SELECT k.kind, k.match FROM unnest($3::text[], $4::jsonb[]) AS k (kind, match));

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

-- name: notify_editors :exec
-- Every operator who may edit the campaign hears that an edit ended runs.
--   $1 account  $2 owner  $3 payload
INSERT INTO dripd.notification (account_id, kind, recipient, payload)
SELECT o.account_id, 'edited', o.name, $3::jsonb
FROM dripd.operator AS o
WHERE o.account_id = $1::int4
    AND (o.role = 'admin' OR (o.role = 'member' AND o.name = $2::text));

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

-- name: read_tally :one
-- A campaign as it was counted last; its age in real time.
--   $1 account  $2 campaign
SELECT at, took_ms, figures,
    greatest(0, extract(epoch FROM clock_timestamp() - counted_at) * 1000)::int8 AS age_ms
FROM dripd.campaign_tally
WHERE account_id = $1::int4
    AND campaign_id = $2::int4;

-- name: keep_tally :exec
--   $1 account  $2 campaign  $3 at  $4 took, ms  $5 figures
INSERT INTO dripd.campaign_tally (account_id, campaign_id, at, took_ms, figures)
VALUES ($1::int4, $2::int4, $3::timestamptz, $4::int4, $5::jsonb)
ON CONFLICT (account_id, campaign_id) DO UPDATE
SET at = excluded.at,
    counted_at = clock_timestamp(),
    took_ms = excluded.took_ms,
    figures = excluded.figures;

-- name: find_counted :one
-- What a count of a campaign needs to know of it.
--   $1 account  $2 campaign
SELECT account_id, id, key, live_cv_id
FROM dripd.campaign
WHERE account_id = $1::int4
    AND id = $2::int4;

-- name: read_stats :one
--   $1 account  $2 campaign key
SELECT account_id, campaign_key, status, enrolled, active, completed, removed, terminated, goal,
    sent
FROM dripd.campaign_stats
WHERE account_id = $1::int4
    AND campaign_key = $2::text;

-- name: read_step_stats :many
-- How many runs wait at each step of each version of a campaign, and what became of it.
--   $1 account  $2 campaign
WITH versions AS (
    SELECT id, version FROM dripd.campaign_version
    WHERE account_id = $1::int4 AND campaign_id = $2::int4
), waiting AS (
    SELECT d.cv_id, d.step_no, count(*)::int4 AS n
    FROM dripd.due_step AS d
    JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id
    WHERE d.account_id = $1::int4
        AND d.cv_id IN (SELECT id FROM versions)
        AND r.status = 1
        AND NOT r.stats_void
    GROUP BY d.cv_id, d.step_no
), happened AS (
    SELECT l.cv_id, l.step_no,
        count(*) FILTER (WHERE l.state IN (1, 3, 5))::int4 AS done,
        count(*) FILTER (WHERE l.state = 6)::int4 AS skipped,
        count(*) FILTER (WHERE l.state = 2)::int4 AS failed,
        count(*) FILTER (WHERE l.state IN (1, 3) AND l.channel > 0)::int4 AS sent
    FROM dripd.step_log AS l
    JOIN dripd.run AS r ON r.account_id = l.account_id AND r.id = l.enrollment_id
    WHERE l.account_id = $1::int4
        AND l.cv_id IN (SELECT id FROM versions)
        AND NOT r.stats_void
    GROUP BY l.cv_id, l.step_no
)
SELECT v.id AS cv_id, v.version, s.key AS step_key, s.name, coalesce(w.n, 0) AS at,
    coalesce(h.done, 0) AS done, coalesce(h.skipped, 0) AS skipped, coalesce(h.failed, 0) AS failed,
    coalesce(h.sent, 0) AS sent
FROM versions AS v
JOIN dripd.version_step AS s ON s.account_id = $1::int4 AND s.cv_id = v.id
LEFT JOIN waiting AS w ON w.cv_id = s.cv_id AND w.step_no = s.step_no
LEFT JOIN happened AS h ON h.cv_id = s.cv_id AND h.step_no = s.step_no
ORDER BY v.version, s.step_no;

-- name: count_entered :many
-- How many runs are, or ended, in each version of a campaign.
--   $1 account  $2 campaign
SELECT r.cv_id, count(*)::int4 AS n
FROM dripd.run AS r
WHERE r.account_id = $1::int4
    AND r.campaign_id = $2::int4
    AND NOT r.stats_void
GROUP BY r.cv_id;

-- name: count_left :many
-- How many runs ended before the end of the campaign, by version, the step that they had come to
-- and the reason.
--   $1 account  $2 campaign
SELECT r.cv_id, coalesce(l.step_no + 1, 0)::int4 AS step_no, r.end_reason AS reason,
    count(*)::int4 AS n
FROM dripd.run AS r
LEFT JOIN (
    SELECT enrollment_id, max(step_no) AS step_no
    FROM dripd.step_log
    WHERE account_id = $1::int4
        AND cv_id IN (SELECT id FROM dripd.campaign_version WHERE account_id = $1::int4 AND campaign_id = $2::int4)
        AND state BETWEEN 1 AND 6
        AND state <> 4
    GROUP BY enrollment_id
) AS l ON l.enrollment_id = r.id
WHERE r.account_id = $1::int4
    AND r.campaign_id = $2::int4
    AND r.status > 1
    AND r.end_reason <> 'completed'
    AND NOT r.stats_void
GROUP BY 1, 2, 3;
