-- phase: pre
-- locks: step_log, event_log, journal_log and enroll_request, as a new partition is attached
-- takes: instant
-- Months of the four tables that only grow: made ahead, dropped when retention says so.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.make_partitions(at timestamptz, months int4) RETURNS int4
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    parent text;
    parted_by text;
    first_day date;
    part text;
    strays boolean;
    made int4 := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(7237) THEN
        RETURN 0;  -- another daemon is at it
    END IF;
    FOR parent, parted_by IN VALUES
        ('step_log', 'at'), ('event_log', 'processed_at'), ('journal_log', 'at'), ('enroll_request', 'inserted_at')
    LOOP
        FOR n IN 0 .. months - 1 LOOP
            first_day := date_trunc('month', at) + n * interval '1 month';
            part := parent || to_char(first_day, '_YYYY_MM');
            CONTINUE WHEN to_regclass(format('dripd.%I', part)) IS NOT NULL;
            EXECUTE format('SELECT EXISTS (SELECT FROM dripd.%I WHERE %I >= $1 AND %I < $1 + interval ''1 month'')',
                parent || '_default', parted_by, parted_by) INTO strays USING first_day::timestamptz;
            CONTINUE WHEN strays;  -- that month stays where its first rows fell
            EXECUTE format('CREATE TABLE dripd.%I (LIKE dripd.%I INCLUDING ALL EXCLUDING IDENTITY)', part, parent);
            EXECUTE format('ALTER TABLE dripd.%I ATTACH PARTITION dripd.%I FOR VALUES FROM (%L) TO (%L)',
                parent, part, first_day::timestamptz, first_day::timestamptz + interval '1 month');
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$$;

CREATE FUNCTION dripd.drop_partitions(before timestamptz) RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    part text;
    waits boolean;
    dropped text[] := '{}';
BEGIN
    IF NOT pg_try_advisory_xact_lock(7237) THEN
        RETURN dropped;
    END IF;
    SET LOCAL lock_timeout = '500ms';  -- whoever waits for the parent's lock holds up every insert behind it
    FOR part IN
        SELECT c.relname FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('dripd.step_log'::regclass, 'dripd.event_log'::regclass, 'dripd.journal_log'::regclass,
                'dripd.enroll_request'::regclass)
            AND c.relname ~ '_[0-9]{4}_[0-9]{2}$'
            AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= before
        ORDER BY c.relname
    LOOP
        IF part LIKE 'enroll_request%' THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM dripd.%I WHERE status = ''pending'')', part) INTO waits;
            CONTINUE WHEN waits;
        END IF;
        EXECUTE format('DROP TABLE dripd.%I', part);
        dropped := dropped || part;
    END LOOP;
    RETURN dropped;
END
$$;

REVOKE ALL ON FUNCTION dripd.make_partitions, dripd.drop_partitions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dripd.make_partitions, dripd.drop_partitions TO dripd_daemon;

SELECT dripd.make_partitions(dripd.now(), 3);
