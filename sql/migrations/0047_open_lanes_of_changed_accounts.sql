-- phase: pre
-- locks: dripd.account, for an instant
-- takes: instant
-- A lane that a window or a rate had shut stayed shut until the instant that the old one named.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.open_lanes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    DELETE FROM dripd.park WHERE account_id = new.id AND reason IN ('window', 'rate');
    RETURN NULL;
END
$$;
CREATE TRIGGER open_lanes AFTER UPDATE OF send_window, timezone, rate ON dripd.account
    FOR EACH ROW WHEN ((old.send_window, old.timezone, old.rate) IS DISTINCT FROM (new.send_window, new.timezone, new.rate))
    EXECUTE FUNCTION dripd.open_lanes();
