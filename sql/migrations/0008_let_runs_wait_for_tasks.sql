-- phase: pre
-- locks: dripd.task
-- takes: instant
-- A run may wait for a task: who is to be told is kept until then, and its closing is told to the inbox.
SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.task
    ADD COLUMN recipient text,
    ADD COLUMN awaited boolean NOT NULL DEFAULT false;
CREATE INDEX task_reminder ON dripd.task (reminder_at) WHERE state = 'open' AND recipient IS NOT NULL;

CREATE FUNCTION dripd.tell_task_closed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    INSERT INTO dripd.event_in (account_id, contact_id, kind, delivery_id, payload)
    VALUES (new.account_id, new.contact_id, 'task_closed', new.enrollment_id || '-' || new.seq,
        jsonb_build_object('task_id', new.id));
    RETURN NULL;
END
$$;
CREATE TRIGGER tell_task_closed AFTER UPDATE ON dripd.task
    FOR EACH ROW WHEN (old.state = 'open' AND new.state <> 'open' AND new.awaited)
    EXECUTE FUNCTION dripd.tell_task_closed();
