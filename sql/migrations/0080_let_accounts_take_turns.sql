-- phase: pre
-- locks: dripd.enroll_request against writing
-- takes: scan
-- Pending requests are found by account: who asks for a million does not keep others waiting.

SET LOCAL ROLE dripd_owner;

DROP INDEX dripd.enroll_request_pending;
CREATE INDEX enroll_request_pending
    ON dripd.enroll_request (left(coalesce(account_id::text, '@' || account_key, '?'), 200) COLLATE "C", id)
    WHERE status = 'pending';

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
