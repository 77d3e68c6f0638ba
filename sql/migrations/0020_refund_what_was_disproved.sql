-- phase: pre
-- locks: step_log, for an instant
-- takes: instant
-- A message that was presumed sent and was not is given back late; an erasure forgets what a run was given and charged for.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.refund_disproved() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    PERFORM dripd.refund_unsent(new.account_id, new.enrollment_id);
    RETURN NULL;
END
$$;
CREATE TRIGGER refund_disproved AFTER UPDATE OF state ON dripd.step_log FOR EACH ROW
    WHEN (old.state = 3 AND new.state IN (2, 4))
    EXECUTE FUNCTION dripd.refund_disproved();

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
