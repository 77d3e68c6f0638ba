-- phase: pre
-- locks: nothing
-- takes: instant
-- A lane that a cap had shut now opens with the window of the next day: another window, another instant.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE FUNCTION dripd.open_lanes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    DELETE FROM dripd.park WHERE account_id = new.id AND reason IN ('window', 'rate', 'cap');
    RETURN NULL;
END
$$;
