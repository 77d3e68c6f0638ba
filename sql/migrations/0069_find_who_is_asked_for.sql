-- phase: pre
-- locks: dripd.enroll_request against writing
-- takes: scan
-- An event waits for the requests that were made of its contact before it: they are found by contact and conversation.

SET LOCAL ROLE dripd_owner;

CREATE INDEX enroll_request_contact ON dripd.enroll_request ((coalesce(contact_id::text, external_id)))
    WHERE status = 'pending';
CREATE INDEX enroll_request_conversation ON dripd.enroll_request (conversation_ref)
    WHERE status = 'pending' AND conversation_ref IS NOT NULL;
