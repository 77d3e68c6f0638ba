-- phase: pre
-- locks: nothing
-- takes: instant
-- A task that a role named dripd closed was taken for one that the engine had cancelled.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE FUNCTION dripd.tell_task_closed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    INSERT INTO dripd.journal_log (actor, account_id, enrollment_id, contact_id, kind, detail)
    VALUES (coalesce(new.closed_by, 'dripd'), new.account_id, new.enrollment_id, new.contact_id,
        'task_' || new.state,
        jsonb_build_object('task_id', new.id, 'task', new.kind, 'seq', new.seq, 'step_key', new.step_key));
    IF new.awaited THEN
        INSERT INTO dripd.event_in (account_id, contact_id, kind, delivery_id, payload)
        VALUES (new.account_id, new.contact_id, 'task_closed', new.enrollment_id || '-' || new.seq,
            jsonb_build_object('task_id', new.id));
    END IF;
    RETURN NULL;
END
$$;
