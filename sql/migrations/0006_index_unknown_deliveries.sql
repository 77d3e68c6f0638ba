-- phase: pre
-- locks: dripd.step_log against writing
-- takes: scan
-- Deliveries of which nobody knows the outcome are few, and counted all the time.

SET LOCAL ROLE dripd_owner;

CREATE INDEX step_log_unknown ON dripd.step_log (account_id, enrollment_id) WHERE state = 3;
