-- phase: pre
-- locks: dripd.journal_log, for as long as indexing it takes
-- takes: scan
-- What concerns a contact and no run of it: refused requests above all, for its timeline.

SET LOCAL ROLE dripd_owner;

CREATE INDEX journal_log_contact ON dripd.journal_log (account_id, contact_id)
    WHERE contact_id IS NOT NULL AND enrollment_id IS NULL;
