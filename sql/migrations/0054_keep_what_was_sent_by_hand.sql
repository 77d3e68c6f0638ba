-- phase: pre
-- locks: nothing
-- takes: instant
-- A manual email that is done keeps what was sent: its draft, where nothing else is said.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE FUNCTION dripd.task_closed() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF new.state <> 'open' AND new.closed_at IS NULL THEN
        new.closed_at := dripd.now();
        new.closed_by := coalesce(new.closed_by, session_user);
    END IF;
    IF new.state = 'done' AND new.kind = 'manual_email' AND NOT new.payload ? 'final_body' AND new.payload ? 'text' THEN
        new.payload := new.payload || jsonb_build_object(  -- nothing else is said: the draft was sent
            'final_body', coalesce(nullif(new.payload ->> 'text', ''), new.payload ->> 'html', ''));
    END IF;
    RETURN new;
END
$$;
