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
