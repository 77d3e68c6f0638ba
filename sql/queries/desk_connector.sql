-- name: find_connector :one
--   $1 account int4  $2 key text
SELECT account_id, key, url, secret, created_at FROM dripd.connector
WHERE account_id = $1::int4 AND key = $2::text;

-- name: put_connector :one
--   $1 account int4  $2 key text  $3 url text  $4 secret text (a reference)
INSERT INTO dripd.connector (account_id, key, url, secret)
VALUES ($1::int4, $2::text, $3::text, $4::text)
ON CONFLICT (account_id, key) DO UPDATE SET url = excluded.url, secret = excluded.secret
RETURNING account_id, key, url, secret, created_at;

-- name: list_connectors :many
--   $1 account int4, NULL = all  $2, $3 after: account, key  $4 most int4
SELECT k.account_id, a.key AS account_key, k.key, k.url, k.secret, k.created_at
FROM dripd.connector AS k
JOIN dripd.account AS a ON a.id = k.account_id
WHERE ($1::int4 IS NULL OR k.account_id = $1::int4) AND (k.account_id, k.key) > ($2::int4, $3::text)
ORDER BY k.account_id, k.key
LIMIT $4::int4;

-- name: remove_connector :exec
--   $1 account int4  $2 key text
DELETE FROM dripd.connector WHERE account_id = $1::int4 AND key = $2::text;

-- name: find_users_of_connector :many
-- Campaigns whose live version, or that of a live run, calls the connector.
--   $1 account int4  $2 key text
SELECT DISTINCT c.key
FROM dripd.campaign AS c
JOIN dripd.campaign_version AS v ON v.account_id = c.account_id AND v.campaign_id = c.id
WHERE c.account_id = $1::int4 AND c.status <> 'archived'
    AND (v.id = c.live_cv_id
        OR EXISTS (SELECT FROM dripd.due_step AS d WHERE d.account_id = c.account_id AND d.cv_id = v.id))
    AND jsonb_path_exists(v.definition,
        '$.** ? (@.do == "sync" && @.connector == $key || @.do == "social_follow" && @.network == $key)',
        jsonb_build_object('key', $2::text))
ORDER BY c.key;

-- name: wake_unconnected :exec
-- Runs that were held for want of a connector are judged again.
--   $1 account int4
INSERT INTO dripd.event_in (account_id, contact_id, kind, delivery_id, payload, internal)
SELECT r.account_id, r.contact_id, 'task_closed', d.enrollment_id || '-' || d.seq, '{}', true
FROM dripd.run AS r
JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
WHERE r.account_id = $1::int4 AND r.status = 1 AND r.hold_reason = 'connector_missing';
