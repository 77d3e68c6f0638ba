-- phase: pre
-- locks: dripd.event_in for an instant, dripd.suppression and dripd.contact against writing
-- takes: scan
-- An address has one form, however it is written: who is suppressed as +1 (555) 000-1111 is not reached at
-- +15550001111 either, and an event that names the one is about the other.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.wide_form(address text) RETURNS text  -- of an address that is not in ASCII
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT translate(
        lower(CASE WHEN strpos(address, '@') > 0 THEN btrim(address, E' \t\n\r\f\v\u00a0')
            ELSE translate(address, E' ()./-\t\n\r\f\v\u00a0\u2007\u2009\u200b\u200c\u200d\u200e\u200f\u2010\u2011\u2012\u2013\u2014\u2015\u202a\u202b\u202c\u202d\u202e\u202f\u2060\u2066\u2067\u2068\u2069\u2212\ufeff', '')
            END COLLATE "C"),
        'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĲĴĶĹĻĽĿŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ',
        'àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĳĵķĺļľŀłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷÿźżžάέήίόύώαβγδεζηθικλμνξοπρστυφχψωϊϋѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюя')
$$;
CREATE FUNCTION dripd.address_form(address text) RETURNS text  -- the same in every locale; `policy.suppression` has it too
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN octet_length(address) > char_length(address) THEN dripd.wide_form(address)
        WHEN strpos(address, '@') > 0 THEN lower(btrim(address, E' \t\n\r\f\v') COLLATE "C")
        WHEN address COLLATE "C" !~ '[^+0-9]' THEN address  -- most are: `translate` costs five times as much
        ELSE lower(translate(address, E' ()./-\t\n\r\f\v', '') COLLATE "C")
    END
$$;
CREATE FUNCTION dripd.address_hash(address text) RETURNS int8
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT hashtextextended(dripd.address_form(address), 0) $$;

CREATE OR REPLACE FUNCTION dripd.suppression_hash() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF new.address IS NULL OR dripd.address_form(new.address) = '' THEN
        RAISE EXCEPTION 'a suppression needs an address' USING ERRCODE = 'not_null_violation';
    END IF;
    new.address := btrim(new.address, E' \t\n\r\f\v\u00a0');
    new.address_h := dripd.address_hash(new.address);
    new.account_id := coalesce(new.account_id, 0);
    RETURN new;
END
$$;

LOCK TABLE dripd.suppression IN SHARE ROW EXCLUSIVE MODE;
WITH moved AS (
    DELETE FROM dripd.suppression AS s
    WHERE s.address IS NOT NULL AND s.address_h <> dripd.address_hash(s.address)
    RETURNING s.account_id, s.channel, s.address, s.reason, s.expires_at, s.created_at, s.created_by
)
INSERT INTO dripd.suppression AS s (account_id, channel, address, reason, expires_at, created_at, created_by)
SELECT DISTINCT ON (dripd.address_form(m.address), m.account_id, m.channel)
    m.account_id, m.channel, m.address, m.reason, m.expires_at, m.created_at, m.created_by
FROM moved AS m
WHERE dripd.address_form(m.address) <> ''
ORDER BY dripd.address_form(m.address), m.account_id, m.channel, m.expires_at DESC NULLS FIRST, m.created_at
ON CONFLICT (address_h, account_id, channel) DO UPDATE  -- the stricter one stays, of two alike the older
SET address = CASE WHEN s.address IS NOT NULL THEN excluded.address END,
    reason = excluded.reason, expires_at = excluded.expires_at,
    created_at = excluded.created_at, created_by = excluded.created_by
WHERE (coalesce(excluded.expires_at, 'infinity'), s.created_at) > (coalesce(s.expires_at, 'infinity'), excluded.created_at);

DROP INDEX dripd.contact_phone;
CREATE INDEX contact_phone ON dripd.contact (account_id, dripd.address_form(phone)) WHERE phone IS NOT NULL;

ALTER TABLE dripd.event_in DROP COLUMN subject;
ALTER TABLE dripd.event_in ADD COLUMN
    subject int8 GENERATED ALWAYS AS (coalesce(
        contact_id,
        CASE WHEN delivery_id ~ '^[0-9]{1,18}-[0-9]{1,9}$'
            THEN -(split_part(delivery_id, '-', 1)::int8) END,
        dripd.address_hash(address),
        0)) STORED;  -- 0 = only the inbox can tell whom it concerns
CREATE INDEX event_in_subject ON dripd.event_in (subject, account_id) INCLUDE (kind_bit);

CREATE OR REPLACE FUNCTION dripd.may_send(contact_id int8, channel text, OUT ok boolean, OUT campaign_key text, OUT next_send_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
    SELECT k.id IS NOT NULL AND busy.campaign_key IS NULL AND NOT EXISTS (
            SELECT FROM dripd.suppression AS s
            WHERE s.address_h = dripd.address_hash(CASE may_send.channel WHEN 'sms' THEN k.phone ELSE k.email END)
                AND s.account_id IN (k.account_id, 0)
                AND s.channel = may_send.channel
                AND (s.expires_at IS NULL OR s.expires_at > dripd.now())
        ),
        busy.campaign_key,
        busy.next_send_at
    FROM (SELECT may_send.contact_id AS id) AS asked
    LEFT JOIN dripd.contact AS k ON k.id = asked.id AND k.erased_at IS NULL AND dripd.may_read(k.account_id)
    LEFT JOIN LATERAL (
        SELECT a.campaign_key, a.next_send_at
        FROM dripd.contact_active AS a
        WHERE a.account_id = k.account_id AND a.contact_id = k.id
        ORDER BY a.next_send_at
        LIMIT 1
    ) AS busy ON true
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
            AND NOT EXISTS (SELECT FROM dripd.contact AS c
                WHERE c.account_id = person.account_id AND lower(c.email) = lower(btrim(a.address)) AND c.id <> person.id)
            AND NOT EXISTS (SELECT FROM dripd.contact AS c
                WHERE c.account_id = person.account_id AND c.phone IS NOT NULL
                    AND dripd.address_form(c.phone) = dripd.address_form(a.address) AND c.id <> person.id));
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
    WHERE lower(e.told ->> 'address') = ANY (known);
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
        AND (m.enrollment_id = ANY (runs) OR m.enrollment_id IS NULL AND lower(m.recipient) = ANY (known)
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
    DELETE FROM dripd.contact_tag AS t WHERE t.account_id = person.account_id AND t.contact_id = person.id;
    DELETE FROM dripd.list_member AS m WHERE m.account_id = person.account_id AND m.contact_id = person.id;
    INSERT INTO dripd.event_in (account_id, contact_id, kind, payload)
    VALUES (person.account_id, person.id, 'contact_erased', '{}');
END
$$;
