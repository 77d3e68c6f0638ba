-- name: read_known :one
-- What an account has that a campaign file may name.
--   $1 account  int4
SELECT p.features,
    (SELECT coalesce(jsonb_object_agg(CASE f.target WHEN 'company' THEN 'company.' ELSE '' END || f.key, f.type), '{}')
        FROM dripd.field AS f
        WHERE f.account_id = a.id) AS fields,
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
    (SELECT coalesce(jsonb_object_agg(c.key, c.status), '{}')
        FROM dripd.campaign AS c
        WHERE c.account_id = a.id AND c.status NOT IN ('active', 'archived')) AS closed,
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
    following = NULL,
    status = CASE
        WHEN $9::boolean THEN 'active'
        WHEN status = 'draft' THEN 'inactive'
        ELSE status
    END
WHERE account_id = $1::int4
    AND id = $2::int4;

-- name: drop_file_triggers :exec
-- Triggers that the file gave and gives no more.
--   $1 account  $2 campaign  $3 kinds  $4 matches
DELETE FROM dripd.campaign_trigger
WHERE account_id = $1::int4
    AND campaign_id = $2::int4
    AND origin = 'file'
    AND (kind, match) NOT IN (
        SELECT k.kind, k.match FROM unnest($3::text[], $4::jsonb[]) AS k (kind, match));

-- name: notify_editors :exec
-- Every operator who may edit the campaign hears that an edit ended runs.
--   $1 account  $2 owner  $3 payload
INSERT INTO dripd.notification (account_id, kind, recipient, payload)
SELECT o.account_id, 'edited', o.name, $3::jsonb
FROM dripd.operator AS o
WHERE o.account_id = $1::int4
    AND (o.role = 'admin' OR (o.role = 'member' AND o.name = $2::text));

-- name: let_follow :exec
-- How runs in flight follow to the live version, once they are recorded; NULL: none has to any more.
--   $1 account  $2 campaign  $3 map jsonb
UPDATE dripd.campaign
SET following = $3::jsonb
WHERE account_id = $1::int4
    AND id = $2::int4
    AND following IS DISTINCT FROM $3::jsonb;

-- name: list_following :many
-- Campaigns whose live version some runs are still to pass to, and how.
SELECT c.account_id, c.id, c.key, c.live_version, c.live_cv_id, c.following
FROM dripd.campaign AS c
WHERE c.following IS NOT NULL
ORDER BY c.account_id, c.id;
