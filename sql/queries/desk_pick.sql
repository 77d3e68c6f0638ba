-- name: pick_runs :many
-- The selected runs, in the order of their ids; read through a cursor.
--   $1 account  $2 enrollments  $3 contacts  $4 campaigns  $5 lists  $6 tags
--   $7 ended runs too that were not reset  $8 ended runs too that the statistics count; NULL = any
SELECT r.account_id, r.id, r.contact_id, r.campaign_id, r.cv_id, r.status,
    c.key AS campaign_key
FROM dripd.run AS r
JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
WHERE ($1::int4 IS NULL OR r.account_id = $1::int4)
    AND ($2::int8[] IS NULL OR r.id = ANY ($2::int8[]))
    AND ($3::int8[] IS NULL OR r.contact_id = ANY ($3::int8[]))
    AND ($4::int4[] IS NULL OR r.campaign_id = ANY ($4::int4[]))
    AND ($5::int8[] IS NULL OR EXISTS (
        SELECT FROM dripd.list_member AS m
        WHERE m.account_id = r.account_id AND m.contact_id = r.contact_id
            AND m.list_id = ANY ($5::int8[])))
    AND ($6::text[] IS NULL OR EXISTS (
        SELECT FROM dripd.contact_tag AS t
        WHERE t.account_id = r.account_id AND t.contact_id = r.contact_id
            AND t.tag = ANY ($6::text[])))
    AND (r.status = 1 OR $7::boolean AND r.reset_at IS NULL OR $8::boolean AND NOT r.stats_void)
ORDER BY r.id;

-- name: unstarted_runs :many
-- Of these runs those that have sent nothing, and are sending nothing.
--   $1 accounts  $2 enrollments, beside them
SELECT k.e AS id
FROM unnest($1::int4[], $2::int8[]) AS k (a, e)
WHERE NOT EXISTS (
        SELECT FROM dripd.step_log AS l
        WHERE l.account_id = k.a AND l.enrollment_id = k.e AND l.channel > 0 AND l.state IN (1, 3))
    AND NOT EXISTS (
        SELECT FROM dripd.due_step AS d
        WHERE d.account_id = k.a AND d.enrollment_id = k.e AND d.claim_id IS NOT NULL);

-- name: lock_queued :many
-- Requests of the selection whose contact is busy elsewhere.
--   $1 account  $2 contacts  $3 campaigns  $4 lists  $5 tags; NULL = any
-- locks: the requests, in the order of their ids
SELECT q.id, q.account_id, q.queued_for AS contact_id, c.id AS campaign_id
FROM dripd.enroll_request AS q
JOIN dripd.campaign AS c ON c.account_id = q.account_id AND c.key = q.campaign_key
WHERE q.status = 'pending'
    AND q.queued_for IS NOT NULL
    AND ($1::int4 IS NULL OR q.account_id = $1::int4)
    AND ($2::int8[] IS NULL OR q.queued_for = ANY ($2::int8[]))
    AND ($3::int4[] IS NULL OR c.id = ANY ($3::int4[]))
    AND ($4::int8[] IS NULL OR EXISTS (
        SELECT FROM dripd.list_member AS m
        WHERE m.account_id = q.account_id AND m.contact_id = q.queued_for AND m.list_id = ANY ($4::int8[])))
    AND ($5::text[] IS NULL OR EXISTS (
        SELECT FROM dripd.contact_tag AS t
        WHERE t.account_id = q.account_id AND t.contact_id = q.queued_for AND t.tag = ANY ($5::text[])))
ORDER BY q.id
FOR UPDATE OF q;

-- name: known_runs :many
-- Which of these are runs at all.
--   $1 enrollments  int8[]
SELECT id
FROM dripd.run
WHERE id = ANY ($1::int8[]);

-- name: read_contact_facts :many
-- What a condition may ask about contacts.
--   $1 contacts  int8[]
SELECT c.id, c.external_id, c.email, c.phone, c.timezone, c.owner, c.service_owner,
    c.company_id, c.attrs,
    ARRAY(
        SELECT t.tag FROM dripd.contact_tag AS t
        WHERE t.account_id = c.account_id AND t.contact_id = c.id
    ) AS tags,
    ARRAY(
        SELECT l.key
        FROM dripd.list_member AS m
        JOIN dripd.contact_list AS l ON l.account_id = m.account_id AND l.id = m.list_id
        WHERE m.account_id = c.account_id AND m.contact_id = c.id
    ) AS lists
FROM dripd.contact AS c
WHERE c.id = ANY ($1::int8[]);
