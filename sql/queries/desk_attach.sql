-- name: keep_attachments :many
-- Those of some files that are there in full; none of them is swept for another day.
--   $1 account int4  $2 sha256 text[]
-- locks: attachment rows
WITH kept AS (
    UPDATE dripd.attachment SET looked_at = clock_timestamp()
    WHERE account_id = $1::int4 AND sha256 = ANY ($2::text[])
    RETURNING sha256, size, octet_length(data) AS n
)
SELECT sha256, max(size) AS size
FROM kept
GROUP BY sha256
HAVING sum(n) = max(size);

-- name: put_attachment :exec
--   $1 account int4  $2 sha256 text  $3 part int4  $4 size int4  $5 data bytea
INSERT INTO dripd.attachment (account_id, sha256, part, size, data)
VALUES ($1::int4, $2::text, $3::int4, $4::int4, $5::bytea)
ON CONFLICT (account_id, sha256, part) DO NOTHING;

-- name: drop_attachment :exec
--   $1 account int4  $2 sha256 text
DELETE FROM dripd.attachment WHERE account_id = $1::int4 AND sha256 = $2::text;

-- name: drop_misfits :exec
-- Parts of a file that was said to have another size.
--   $1 account int4  $2 sha256 text  $3 size int4
DELETE FROM dripd.attachment
WHERE account_id = $1::int4 AND sha256 = $2::text AND size <> $3::int4;

-- name: is_sound :one
-- Does a file that is there in full hold what its name says?
--   $1 account int4  $2 sha256 text
SELECT encode(sha256(string_agg(data, ''::bytea ORDER BY part)), 'hex') = $2::text AS sound
FROM dripd.attachment
WHERE account_id = $1::int4 AND sha256 = $2::text;

-- name: sweep_attachments :exec
-- Files that no draft, no live version and no live run has named for a day, and uploads that were never finished;
-- the others are looked at again a day later.
-- locks: attachment rows
WITH old AS MATERIALIZED (
    SELECT DISTINCT account_id, sha256 FROM dripd.attachment WHERE looked_at < clock_timestamp() - interval '1 day'
), named AS MATERIALIZED (
    SELECT w.account_id, w.cv_id, s #>> '{}' AS sha256
    FROM (
        SELECT c.account_id, NULL::int4 AS cv_id, c.draft AS definition
        FROM dripd.campaign AS c
        WHERE c.account_id IN (SELECT account_id FROM old)
        UNION ALL
        SELECT v.account_id, CASE WHEN v.id IS DISTINCT FROM c.live_cv_id THEN v.id END, v.definition
        FROM dripd.campaign_version AS v
        JOIN dripd.campaign AS c ON c.account_id = v.account_id AND c.id = v.campaign_id
        WHERE v.account_id IN (SELECT account_id FROM old)
    ) AS w
    CROSS JOIN LATERAL jsonb_path_query(w.definition, '$.**.attachments[*].sha256') AS s
), used AS MATERIALIZED (
    SELECT DISTINCT o.account_id, o.sha256
    FROM old AS o
    JOIN named AS n ON n.account_id = o.account_id AND n.sha256 = o.sha256
    WHERE n.cv_id IS NULL
        OR EXISTS (SELECT FROM dripd.due_step AS d WHERE d.account_id = n.account_id AND d.cv_id = n.cv_id)
        OR EXISTS (SELECT FROM dripd.outbox AS x
            WHERE x.account_id = n.account_id AND x.cv_id = n.cv_id AND x.state = 'open')
), gone AS (
    DELETE FROM dripd.attachment AS a
    USING old AS o
    WHERE a.account_id = o.account_id AND a.sha256 = o.sha256
        AND a.looked_at < clock_timestamp() - interval '1 day'
        AND NOT EXISTS (SELECT FROM used AS u WHERE u.account_id = o.account_id AND u.sha256 = o.sha256)
)
UPDATE dripd.attachment AS a SET looked_at = clock_timestamp()
FROM used AS u
WHERE a.account_id = u.account_id AND a.sha256 = u.sha256;
