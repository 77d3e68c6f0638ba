-- phase: pre
-- locks: dripd.enroll_request and dripd.run against writing
-- takes: scan
-- A request is refused with a reason, never its whole statement: what is longer than a page of an index is found by
-- how it begins.

SET LOCAL ROLE dripd_owner;

DROP INDEX dripd.enroll_request_contact;
CREATE INDEX enroll_request_contact ON dripd.enroll_request (left(coalesce(contact_id::text, external_id), 200))
    WHERE status = 'pending';
DROP INDEX dripd.enroll_request_conversation;
CREATE INDEX enroll_request_conversation ON dripd.enroll_request (left(conversation_ref, 200))
    WHERE status = 'pending' AND conversation_ref IS NOT NULL;
DROP INDEX dripd.run_conversation;
CREATE INDEX run_conversation ON dripd.run (account_id, left(conversation_ref, 200)) WHERE conversation_ref IS NOT NULL;
