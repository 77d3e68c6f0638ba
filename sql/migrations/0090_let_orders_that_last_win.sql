-- phase: pre
-- locks: nothing
-- takes: instant
-- A suppression that was to end kept one that lasts longer out, for good: who unsubscribed was written to again.

SET LOCAL ROLE dripd_owner;

-- an entry that ends sooner gives way to the new one; writers may not delete it
CREATE OR REPLACE FUNCTION dripd.suppression_hash() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
DECLARE
    former text;
BEGIN
    IF new.address IS NULL OR dripd.address_form(new.address) = '' THEN
        RAISE EXCEPTION 'a suppression needs an address' USING ERRCODE = 'not_null_violation';
    END IF;
    new.address := btrim(new.address, E' \t\n\r\f\v\u00a0');
    new.address_h := dripd.address_hash(new.address);
    new.account_id := coalesce(new.account_id, 0);
    DELETE FROM dripd.suppression AS s
    WHERE s.address_h = new.address_h AND s.account_id = new.account_id AND s.channel = new.channel
        AND s.expires_at < coalesce(new.expires_at, 'infinity')
    RETURNING s.reason INTO former;
    new.reason := coalesce(new.reason, former);
    RETURN new;
END
$$;
