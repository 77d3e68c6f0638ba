-- phase: pre
-- locks: nothing
-- takes: instant
-- A tag that is NULL is none, as tags that are NULL are; attrs that are no object are refused in words.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE FUNCTION dripd.upsert_contact(
    account_key text, external_id text, email text DEFAULT NULL, phone text DEFAULT NULL,
    attrs jsonb DEFAULT '{}', tags text[] DEFAULT '{}'
) RETURNS int8
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
DECLARE
    account int4 := dripd.account_for_writing(account_key);
    contact int8;
    unfit text;
    days text;
BEGIN
    IF jsonb_typeof(upsert_contact.attrs) NOT IN ('object', 'null') THEN
        RAISE EXCEPTION 'attrs are a JSON object, not: %', jsonb_typeof(upsert_contact.attrs)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    upsert_contact.attrs := nullif(upsert_contact.attrs, 'null');
    SELECT format('%s is no %s, as %s is', f.value, d.type, f.key) INTO unfit
    FROM jsonb_each(coalesce(upsert_contact.attrs, '{}')) AS f
    JOIN dripd.field AS d ON d.account_id = account AND d.target = 'contact' AND d.key = f.key
    WHERE NOT dripd.fits_type(f.value, d.type);
    IF FOUND THEN
        RAISE EXCEPTION '%', unfit USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT string_agg(f.key, ', ' ORDER BY f.key) INTO days
    FROM jsonb_each_text(coalesce(upsert_contact.attrs, '{}')) AS f
    JOIN dripd.field AS d ON d.account_id = account AND d.target = 'contact' AND d.key = f.key
    WHERE d.type = 'datetime' AND f.value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$';
    IF days IS NOT NULL THEN
        RAISE WARNING '% without a time of day: midnight where the contact is', days;
    END IF;
    INSERT INTO dripd.contact AS c (account_id, external_id, email, phone, attrs)
    VALUES (account, upsert_contact.external_id, upsert_contact.email, upsert_contact.phone,
        coalesce(upsert_contact.attrs, '{}'))
    ON CONFLICT ON CONSTRAINT contact_account_id_external_id_key DO UPDATE
    SET email = coalesce(excluded.email, c.email),
        phone = coalesce(excluded.phone, c.phone),
        attrs = c.attrs || excluded.attrs
    RETURNING id INTO contact;
    INSERT INTO dripd.contact_tag (account_id, contact_id, tag)
    SELECT account, contact, t FROM unnest(coalesce(upsert_contact.tags, '{}')) AS t
    WHERE t <> ''
    ON CONFLICT DO NOTHING;
    RETURN contact;
END
$$;
