-- phase: post
-- locks: nothing
-- takes: instant
-- However many fields of a contact one UPDATE changes, it costs its writer one row.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE FUNCTION dripd.tell_fields_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    INSERT INTO dripd.event_in (account_id, contact_id, kind, payload)
    SELECT n.account_id, n.id, 'field_changed',
        CASE jsonb_array_length(c.changes) WHEN 1 THEN c.changes -> 0 ELSE jsonb_build_object('changes', c.changes) END
    FROM (
        SELECT account_id, id, attrs || jsonb_strip_nulls(jsonb_build_object(
            'email', email, 'phone', phone, 'timezone', timezone, 'owner', owner, 'company_id', company_id)) AS v
        FROM fresh
        WHERE jsonb_typeof(attrs) = 'object' AND erased_at IS NULL
    ) AS n
    JOIN (
        SELECT account_id, id, attrs || jsonb_strip_nulls(jsonb_build_object(
            'email', email, 'phone', phone, 'timezone', timezone, 'owner', owner, 'company_id', company_id)) AS v
        FROM stale
        WHERE jsonb_typeof(attrs) = 'object'
    ) AS o ON o.account_id = n.account_id AND o.id = n.id
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object('field', k.key, 'from', o.v -> k.key, 'to', n.v -> k.key)
            ORDER BY k.key COLLATE "C") AS changes
        FROM (
            SELECT jsonb_object_keys(n.v) AS key
            UNION
            SELECT jsonb_object_keys(o.v)
        ) AS k
        WHERE (n.v -> k.key) IS DISTINCT FROM (o.v -> k.key)
    ) AS c
    WHERE n.v IS DISTINCT FROM o.v;
    RETURN NULL;
END
$$;
