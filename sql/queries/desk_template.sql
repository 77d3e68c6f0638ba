-- name: find_template :one
--   $1 account int4  $2 key text
SELECT account_id, key, subject, text, html, updated_at
FROM dripd.template
WHERE account_id = $1::int4 AND key = $2::text;

-- name: put_template :one
--   $1 account int4  $2 key text  $3 subject text  $4 text text  $5 html text
INSERT INTO dripd.template (account_id, key, subject, text, html)
VALUES ($1::int4, $2::text, $3::text, $4::text, $5::text)
ON CONFLICT (account_id, key) DO UPDATE
    SET subject = excluded.subject, text = excluded.text, html = excluded.html
RETURNING account_id, key, subject, text, html, updated_at;

-- name: list_templates :many
--   $1 account int4, NULL = all  $2, $3 after: account, key  $4 most int4
SELECT t.account_id, a.key AS account_key, t.key, t.subject, t.updated_at
FROM dripd.template AS t
JOIN dripd.account AS a ON a.id = t.account_id
WHERE ($1::int4 IS NULL OR t.account_id = $1::int4) AND (t.account_id, t.key) > ($2::int4, $3::text)
ORDER BY t.account_id, t.key
LIMIT $4::int4;

-- name: remove_template :exec
--   $1 account int4  $2 key text
DELETE FROM dripd.template WHERE account_id = $1::int4 AND key = $2::text;

-- name: find_users_of_template :many
-- Campaigns whose draft, live version, or version of a live run names the template; one of their own is none.
-- fields: what their drafts declare.
--   $1 account int4  $2 key text
SELECT c.key,
    ARRAY(SELECT jsonb_object_keys(c.draft -> 'fields') WHERE jsonb_typeof(c.draft -> 'fields') = 'object') AS fields
FROM dripd.campaign AS c
WHERE c.account_id = $1::int4 AND c.status <> 'archived'
    AND (EXISTS (
            SELECT FROM dripd.campaign_version AS v
            WHERE v.account_id = c.account_id AND v.campaign_id = c.id AND v.shared ? $2::text
                AND (v.id = c.live_cv_id
                    OR EXISTS (SELECT FROM dripd.due_step AS d WHERE d.account_id = c.account_id AND d.cv_id = v.id)))
        OR NOT coalesce(c.draft -> 'templates' ? $2::text, false)
            AND jsonb_path_exists(c.draft, '$.** ? (@.template == $key)', jsonb_build_object('key', $2::text)))
ORDER BY c.key;
