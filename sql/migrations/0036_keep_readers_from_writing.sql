-- phase: pre
-- locks: nothing
-- takes: instant
-- Functions that write are for those who may write: whoever may only read could call them too.

SET LOCAL ROLE dripd_owner;

REVOKE ALL ON FUNCTION dripd.upsert_contact, dripd.enroll, dripd.record_usage, dripd.erase_contact,
    dripd.account_for_writing, dripd.refund_unsent, dripd.refresh_gates FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dripd.upsert_contact, dripd.enroll, dripd.record_usage, dripd.erase_contact
    TO dripd_writer, dripd_daemon;
