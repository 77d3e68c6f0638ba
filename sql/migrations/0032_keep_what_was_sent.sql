-- phase: pre
-- locks: dripd.step_log against writing, for an instant
-- takes: instant
-- A message that may have left is sent again, if at all, byte for byte and under its key; once it is
-- known what became of it, its run goes on at once.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.kept_message (  -- of attempts that did not settle their message: what every further one sends
    account_id int4 NOT NULL,
    enrollment_id int8 NOT NULL,
    seq int4 NOT NULL,
    contact_id int8 NOT NULL,
    provider text NOT NULL,
    since timestamptz(3) NOT NULL,
    until timestamptz(3) NOT NULL,  -- in doubt: then presumed sent; else forgotten
    message jsonb,                  -- NULL: nothing is sent again, or what a journal marked
    mark text NOT NULL DEFAULT '',  -- what a dead daemon's journal says of it
    PRIMARY KEY (account_id, enrollment_id, seq)
);
CREATE INDEX kept_message_until ON dripd.kept_message (until);
CREATE INDEX kept_message_contact ON dripd.kept_message (account_id, contact_id);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.kept_message TO dripd_daemon;

CREATE FUNCTION dripd.wake_settled() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    UPDATE dripd.due_step AS d
    SET due_at = least(d.due_at, dripd.now())
    WHERE (d.account_id, d.enrollment_id) IN (
        SELECT s.account_id, s.enrollment_id FROM dripd.due_step AS s
        WHERE s.account_id = new.account_id AND s.enrollment_id = new.enrollment_id AND s.seq = new.seq
            AND s.flags & 2 <> 0 AND s.claim_id IS NULL
        FOR UPDATE SKIP LOCKED);
    IF FOUND THEN
        INSERT INTO dripd.nudge (account_id) VALUES (new.account_id);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER wake_settled AFTER UPDATE OF state ON dripd.step_log FOR EACH ROW
    WHEN (old.state = 3 AND new.state <> 3)
    EXECUTE FUNCTION dripd.wake_settled();

CREATE OR REPLACE FUNCTION dripd.erase_contact(contact_id int8) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
DECLARE
    person dripd.contact%ROWTYPE;
BEGIN
    SELECT * INTO person FROM dripd.contact AS c WHERE c.id = erase_contact.contact_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF NOT dripd.may_write(person.account_id) THEN
        RAISE EXCEPTION 'contact % is not yours to write', contact_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE dripd.contact AS c
    SET email = NULL, phone = NULL, attrs = '{}', owner = NULL, service_owner = NULL, external_id = NULL,
        erased_at = dripd.now()
    WHERE c.account_id = person.account_id AND c.id = person.id;
    UPDATE dripd.step_log AS l
    SET to_address = NULL, subject = NULL
    FROM dripd.run AS r
    WHERE r.account_id = person.account_id AND r.contact_id = person.id
        AND l.account_id = r.account_id AND l.enrollment_id = r.id;
    UPDATE dripd.run AS r SET vars = NULL, frozen = NULL
    WHERE r.account_id = person.account_id AND r.contact_id = person.id;
    UPDATE dripd.individual_send AS i SET to_address = NULL, subject = NULL
    WHERE i.account_id = person.account_id AND i.contact_id = person.id;
    UPDATE dripd.kept_message AS k SET message = NULL, mark = ''
    WHERE k.account_id = person.account_id AND k.contact_id = person.id;
    UPDATE dripd.task AS t SET title = NULL, payload = '{}'
    WHERE t.account_id = person.account_id AND t.contact_id = person.id;
    UPDATE dripd.suppression AS s SET address = NULL
    WHERE s.account_id = person.account_id
        AND s.address_h IN (hashtextextended(lower(person.email), 0), hashtextextended(lower(person.phone), 0));
    UPDATE dripd.event_log AS e SET payload = '{}', address = NULL
    WHERE e.account_id = person.account_id AND e.contact_id = person.id;
    UPDATE dripd.enroll_request AS q SET vars = NULL, external_id = NULL
    WHERE q.account_id = person.account_id AND q.contact_id = person.id;
    DELETE FROM dripd.contact_tag AS t WHERE t.account_id = person.account_id AND t.contact_id = person.id;
    DELETE FROM dripd.list_member AS m WHERE m.account_id = person.account_id AND m.contact_id = person.id;
    INSERT INTO dripd.event_in (account_id, contact_id, kind, payload)
    VALUES (person.account_id, person.id, 'contact_erased', '{}');
END
$$;
