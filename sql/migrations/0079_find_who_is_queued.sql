-- phase: pre
-- locks: dripd.enroll_request against writing
-- takes: scan
-- A stop withdraws the requests that wait until their contact is free: they are found by contact, not among all that wait.

SET LOCAL ROLE dripd_owner;

CREATE INDEX enroll_request_queued ON dripd.enroll_request (account_id, queued_for)
    WHERE status = 'pending' AND queued_for IS NOT NULL;
