-- phase: pre
-- locks: dripd.contact against writing, dripd.company for an instant
-- takes: scan
-- A run that was held for a value of its contact's company stayed held when the company got one.

SET LOCAL ROLE dripd_owner;

CREATE INDEX contact_company ON dripd.contact (account_id, company_id) WHERE company_id IS NOT NULL;

CREATE OR REPLACE FUNCTION dripd.tell_fields_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    INSERT INTO dripd.event_in (account_id, contact_id, kind, payload)
    SELECT n.account_id, n.id, 'field_changed',
        jsonb_build_object('field', k.key, 'from', o.v -> k.key, 'to', n.v -> k.key)
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
        SELECT jsonb_object_keys(n.v) AS key
        UNION
        SELECT jsonb_object_keys(o.v)
    ) AS k
    WHERE n.v IS DISTINCT FROM o.v
        AND (n.v -> k.key) IS DISTINCT FROM (o.v -> k.key);
    RETURN NULL;
END
$$;

CREATE FUNCTION dripd.tell_companies_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    INSERT INTO dripd.event_in (account_id, kind, address, payload)  -- an address: leases of others pass it
    SELECT n.account_id, 'company_changed', n.id::text, '{}'
    FROM fresh AS n
    JOIN stale AS o ON o.account_id = n.account_id AND o.id = n.id
    WHERE n.attrs IS DISTINCT FROM o.attrs;
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_companies_changed AFTER UPDATE ON dripd.company
    REFERENCING NEW TABLE AS fresh OLD TABLE AS stale
    FOR EACH STATEMENT EXECUTE FUNCTION dripd.tell_companies_changed();
