-- phase: pre
-- locks: dripd.contact for an instant
-- takes: scan
-- An address that was written with blanks around it was sent to without them, past what suppressed it, and events
-- that name it found nobody.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.trim_addresses() RETURNS trigger
LANGUAGE plpgsql SET search_path = dripd, pg_temp
AS $$
BEGIN
    new.email := btrim(new.email, E' \t\n\r\f\v\u00a0');
    new.phone := btrim(new.phone, E' \t\n\r\f\v\u00a0');
    RETURN new;
END
$$;
CREATE TRIGGER trim_addresses BEFORE INSERT OR UPDATE OF email, phone ON dripd.contact FOR EACH ROW
    WHEN (new.email <> btrim(new.email, E' \t\n\r\f\v\u00a0') OR new.phone <> btrim(new.phone, E' \t\n\r\f\v\u00a0'))
    EXECUTE FUNCTION dripd.trim_addresses();
UPDATE dripd.contact SET email = email
WHERE email <> btrim(email, E' \t\n\r\f\v\u00a0') OR phone <> btrim(phone, E' \t\n\r\f\v\u00a0');
