-- phase: pre
-- locks: journal, for an instant
-- takes: instant
-- Who tried to change the journal was told that a view cannot be changed, and how to make it so that it can.

SET LOCAL ROLE dripd_owner;

CREATE TRIGGER journal_is_insert_only INSTEAD OF UPDATE OR DELETE ON dripd.journal
    FOR EACH ROW EXECUTE FUNCTION dripd.refuse_change();
REVOKE UPDATE, DELETE ON dripd.journal FROM dripd_daemon;
