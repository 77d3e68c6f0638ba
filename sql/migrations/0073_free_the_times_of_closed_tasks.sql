-- phase: pre
-- locks: task, while it gets a trigger
-- takes: instant
-- The time that a task had in a diary stayed taken when it was cancelled.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.free_time() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
DECLARE
    owner text := coalesce(old.payload #>> '{slot,person}', old.assignee);
    key int8range := int8range(hashtextextended(owner, old.account_id), hashtextextended(owner, old.account_id), '[]');
BEGIN
    DELETE FROM dripd.diary AS d  -- what is over stays
    WHERE d.account_id = old.account_id AND d.person = owner
        AND d.busy = tstzrange((old.payload #>> '{slot,from}')::timestamptz, (old.payload #>> '{slot,to}')::timestamptz)
        AND int8range(d.whose, d.whose, '[]') && key
        AND upper(d.busy) > dripd.now();
    RETURN NULL;
END
$$;
CREATE TRIGGER free_time AFTER UPDATE ON dripd.task
    FOR EACH ROW WHEN (old.state = 'open' AND old.payload ? 'slot' AND (new.state <> 'open' OR NOT new.payload ? 'slot'))
    EXECUTE FUNCTION dripd.free_time();
