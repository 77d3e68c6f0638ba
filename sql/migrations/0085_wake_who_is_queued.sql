-- phase: pre
-- locks: dripd.enroll_request against writing, dripd.run for an instant
-- takes: scan
-- A request that waits for a busy contact is woken by the end of its run: each was asked for twenty times a second.

SET LOCAL ROLE dripd_owner;

-- who waited for a run to end has its turn; one that is locked is being withdrawn, or `wake_queued` comes by
CREATE FUNCTION dripd.wake_queued() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    PERFORM FROM dripd.enroll_request AS q
    WHERE q.account_id = new.account_id AND q.queued_for = new.contact_id AND q.status = 'pending'
    LIMIT 1;
    IF NOT FOUND THEN  -- as a rule: a third of the cost
        RETURN NULL;
    END IF;
    UPDATE dripd.enroll_request AS q SET queued_for = NULL
    WHERE q.account_id = new.account_id AND q.queued_for = new.contact_id AND q.status = 'pending'
        AND q.id IN (
            SELECT w.id FROM dripd.enroll_request AS w
            WHERE w.account_id = new.account_id AND w.queued_for = new.contact_id AND w.status = 'pending'
            FOR UPDATE SKIP LOCKED);
    RETURN NULL;
END
$$;
CREATE TRIGGER wake_queued AFTER UPDATE ON dripd.run FOR EACH ROW
    WHEN (old.exclusive IS NOT NULL AND new.exclusive IS NULL)
    EXECUTE FUNCTION dripd.wake_queued();

DROP INDEX dripd.enroll_request_pending;
CREATE INDEX enroll_request_pending
    ON dripd.enroll_request (left(coalesce(account_id::text, '@' || account_key, '?'), 200) COLLATE "C", id)
    WHERE status = 'pending' AND queued_for IS NULL;

DO $$  -- the names that a new database gives them
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT i.inhrelid::regclass AS named, c.relname
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'dripd.enroll_request_by_id'::regclass AND c.relname LIKE '%\_id\_idx1'
    LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', part.named, left(part.relname, -1));
    END LOOP;
END
$$;

UPDATE dripd.enroll_request AS q SET queued_for = NULL
WHERE q.status = 'pending' AND q.queued_for IS NOT NULL AND NOT EXISTS (
    SELECT FROM dripd.run AS r
    WHERE r.account_id = q.account_id AND r.contact_id = q.queued_for AND r.exclusive IS NOT NULL);
