-- phase: pre
-- locks: nothing
-- takes: instant
-- Deliveries were listed by sorting all of step_log, which has no index by time and needs none:
-- it is written in the order of time, so its last pages are the latest.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.log_tail(part oid, low_page int8, before tid) RETURNS TABLE (place tid, step dripd.step_log)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = part AND inhparent = 'dripd.step_log'::regclass) THEN
        RETURN;  -- dropped meanwhile
    END IF;
    RETURN QUERY EXECUTE format('SELECT l.ctid, l::dripd.step_log FROM %s AS l WHERE l.ctid >= %L::tid AND l.ctid < %L::tid',
        part::regclass, '(' || low_page || ',0)', before);
END
$$;
REVOKE ALL ON FUNCTION dripd.log_tail FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dripd.log_tail TO dripd_daemon;
