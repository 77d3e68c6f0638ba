-- phase: pre
-- locks: dripd.task, for an instant
-- takes: instant
-- Whoever opened a closed task again waited for nothing: its run had gone on.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.refuse_reopening() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION 'task % is %: it stays closed', old.id, old.state USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER closed_tasks_stay_closed BEFORE UPDATE OF state ON dripd.task
    FOR EACH ROW WHEN (old.state <> 'open' AND new.state = 'open') EXECUTE FUNCTION dripd.refuse_reopening();
