-- phase: pre
-- locks: nothing
-- takes: instant
-- An event that names an address finds also whose `field_map` leads there.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.contact_address (  -- addresses that campaigns map instead of a contact's own: whose they are
    account_id int4 NOT NULL,
    address_key int8 NOT NULL,
    contact_id int8 NOT NULL,
    PRIMARY KEY (account_id, address_key, contact_id)  -- no other index: a plan made on empty tables might prefer it
);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.contact_address TO dripd_daemon;

CREATE OR REPLACE FUNCTION dripd.contacts_at(account_id int4, address text) RETURNS SETOF int8  -- whom an address belongs to
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $$  -- account_id + 0: no plan made on empty tables may go through the account instead
    SELECT c.id FROM dripd.contact AS c
    WHERE c.email IS NOT NULL AND c.account_id + 0 = contacts_at.account_id
        AND dripd.address_key(c.account_id, c.email) = dripd.address_key(contacts_at.account_id, contacts_at.address)
    UNION
    SELECT c.id FROM dripd.contact AS c
    WHERE c.phone IS NOT NULL AND c.account_id + 0 = contacts_at.account_id
        AND dripd.address_key(c.account_id, c.phone) = dripd.address_key(contacts_at.account_id, contacts_at.address)
    UNION
    SELECT m.contact_id FROM dripd.contact_address AS m
    WHERE m.account_id = contacts_at.account_id
        AND m.address_key = dripd.address_key(contacts_at.account_id, contacts_at.address)
$$;

CREATE OR REPLACE FUNCTION dripd.erase_contact(contact_id int8) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
DECLARE
    person dripd.contact%ROWTYPE;
    runs int8[];
    known text[];  -- addresses that were this person's alone: in small letters, and in their one form
BEGIN
    SELECT * INTO person FROM dripd.contact AS c WHERE c.id = erase_contact.contact_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF NOT dripd.may_write(person.account_id) THEN
        RAISE EXCEPTION 'contact % is not yours to write', contact_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    -- first, as a record does: it waits for those under way, and marks what is leased, and what a lease is about to see
    PERFORM FROM dripd.due_step AS d
    WHERE d.account_id = person.account_id AND d.enrollment_id IN (
        SELECT r.id FROM dripd.run AS r WHERE r.account_id = person.account_id AND r.contact_id = person.id)
    ORDER BY d.lane, d.due_at, d.enrollment_id FOR UPDATE;
    UPDATE dripd.due_step AS d SET flags = d.flags | 512::int2
    WHERE d.account_id = person.account_id AND d.enrollment_id IN (
        SELECT r.id FROM dripd.run AS r WHERE r.account_id = person.account_id AND r.contact_id = person.id);
    SELECT * INTO person FROM dripd.contact AS c WHERE c.id = erase_contact.contact_id FOR UPDATE;
    runs := ARRAY(SELECT r.id FROM dripd.run AS r WHERE r.account_id = person.account_id AND r.contact_id = person.id);
    known := ARRAY(
        SELECT DISTINCT w.word
        FROM (
            VALUES (person.email), (person.phone)
            UNION ALL
            SELECT l.to_address FROM dripd.step_log AS l
            WHERE l.account_id = person.account_id AND l.enrollment_id = ANY (runs)
            UNION ALL
            SELECT i.to_address FROM dripd.individual_send AS i
            WHERE i.account_id = person.account_id AND i.contact_id = person.id AND NOT i.notice
        ) AS a (address)
        CROSS JOIN LATERAL (VALUES (lower(btrim(a.address))), (dripd.address_form(a.address))) AS w (word)
        WHERE length(w.word) > 4
            AND NOT EXISTS (SELECT FROM dripd.contacts_at(person.account_id, a.address) AS other WHERE other <> person.id));
    UPDATE dripd.contact AS c
    SET email = NULL, phone = NULL, attrs = '{}', owner = NULL, service_owner = NULL, external_id = NULL,
        erased_at = dripd.now()
    WHERE c.account_id = person.account_id AND c.id = person.id;
    UPDATE dripd.step_log AS l
    SET to_address = NULL, subject = NULL,
        provider_id = CASE WHEN NOT dripd.names(l.provider_id, known) THEN l.provider_id END,
        reason = CASE WHEN NOT dripd.names(l.reason, known) THEN l.reason END
    WHERE l.account_id = person.account_id AND l.enrollment_id = ANY (runs);
    UPDATE dripd.late_evidence AS e
    SET provider_id = CASE WHEN NOT dripd.names(e.provider_id, known) THEN e.provider_id END,
        reason = CASE WHEN NOT dripd.names(e.reason, known) THEN e.reason END
    WHERE e.account_id = person.account_id AND e.enrollment_id = ANY (runs);
    UPDATE dripd.event_in AS e  -- before the conversations go: by them it is known whose these are
    SET contact_id = coalesce(e.contact_id, person.id), address = NULL, conversation_ref = NULL,
        dedup_key = CASE WHEN NOT dripd.names(e.dedup_key, known) THEN e.dedup_key END,
        payload = CASE WHEN e.kind IN ('list_added', 'list_removed', 'task_closed') AND NOT dripd.names(e.payload::text, known)
            THEN e.payload ELSE '{}' END
    WHERE (e.account_id = person.account_id OR e.account_id IS NULL)
        AND (e.subject = person.id
            OR e.subject IN (SELECT -r FROM unnest(runs) AS r)
            OR e.subject IN (SELECT dripd.address_hash(k) FROM unnest(known) AS k)
            OR e.conversation_ref IN (SELECT r.conversation_ref FROM dripd.run AS r
                WHERE r.account_id = person.account_id AND r.contact_id = person.id)
            OR dripd.names(concat_ws(' ', e.address, e.delivery_id, e.conversation_ref, e.dedup_key, e.payload::text), known));
    UPDATE dripd.event_log AS e
    SET payload = '{}', address = NULL, conversation_ref = NULL,
        dedup_key = CASE WHEN NOT dripd.names(e.dedup_key, known) THEN e.dedup_key END,
        delivery_id = CASE WHEN NOT dripd.names(e.delivery_id, known) THEN e.delivery_id END
    WHERE e.account_id = person.account_id AND e.contact_id = person.id
        OR (e.account_id = person.account_id OR e.account_id IS NULL) AND e.contact_id IS NULL
            AND dripd.names(concat_ws(' ', e.address, e.delivery_id, e.conversation_ref, e.dedup_key, e.payload::text), known);
    UPDATE dripd.event_parked AS e SET told = e.told || '{"address": ""}'
    WHERE dripd.address_form(e.told ->> 'address') = ANY (known);
    DELETE FROM dripd.event_parked AS e WHERE dripd.names(e.event_key || ' ' || e.told::text, known);
    UPDATE dripd.run AS r SET vars = NULL, frozen = NULL, conversation_ref = NULL
    WHERE r.account_id = person.account_id AND r.contact_id = person.id;
    UPDATE dripd.individual_send AS i
    SET to_address = NULL, subject = NULL,
        provider_id = CASE WHEN NOT dripd.names(i.provider_id, known) THEN i.provider_id END,
        reason = CASE WHEN NOT dripd.names(i.reason, known) THEN i.reason END
    WHERE i.account_id = person.account_id AND i.contact_id = person.id;
    UPDATE dripd.kept_message AS k SET message = NULL, mark = ''
    WHERE k.account_id = person.account_id AND k.contact_id = person.id;
    UPDATE dripd.task AS t SET title = NULL, payload = '{}'
    WHERE t.account_id = person.account_id AND t.contact_id = person.id;
    UPDATE dripd.notification AS n SET payload = '{}'
    WHERE n.account_id = person.account_id
        AND (n.enrollment_id = ANY (runs) OR dripd.names(n.payload::text, known));
    UPDATE dripd.sink_message AS m
    SET recipient = NULL, subject = NULL, body = NULL, headers = '{}'
    WHERE m.account_id = person.account_id
        AND (m.enrollment_id = ANY (runs) OR m.enrollment_id IS NULL AND dripd.address_form(m.recipient) = ANY (known)
            OR m.idempotency_key IN (SELECT 'dripd:' || (SELECT d.id FROM dripd.deployment AS d) || ':i-' || i.id
                FROM dripd.individual_send AS i
                WHERE i.account_id = person.account_id AND i.contact_id = person.id));
    UPDATE dripd.suppression AS s SET address = NULL  -- its hash stays, and keeps suppressing
    WHERE s.account_id = person.account_id
        AND s.address_h IN (SELECT dripd.address_hash(k) FROM unnest(known) AS k);
    UPDATE dripd.enroll_request AS q
    SET contact_id = person.id, vars = NULL, external_id = NULL, conversation_ref = NULL,
        idempotency_key = CASE WHEN NOT dripd.names(q.idempotency_key, known) THEN q.idempotency_key END
    WHERE (q.account_id = person.account_id
            OR q.account_id IS NULL AND q.account_key = (SELECT a.key FROM dripd.account AS a WHERE a.id = person.account_id))
        AND (q.contact_id = person.id OR q.enrollment_id = ANY (runs)
            OR q.contact_id IS NULL AND (q.external_id = person.external_id
                OR dripd.names(concat_ws(' ', q.external_id, q.conversation_ref, q.idempotency_key, q.vars::text), known)));
    DELETE FROM dripd.contact_address AS m WHERE m.account_id = person.account_id AND m.contact_id = person.id;
    DELETE FROM dripd.contact_tag AS t WHERE t.account_id = person.account_id AND t.contact_id = person.id;
    DELETE FROM dripd.list_member AS m WHERE m.account_id = person.account_id AND m.contact_id = person.id;
    INSERT INTO dripd.event_in (account_id, contact_id, kind, payload, internal)
    VALUES (person.account_id, person.id, 'contact_erased', '{}', true);
END
$$;
