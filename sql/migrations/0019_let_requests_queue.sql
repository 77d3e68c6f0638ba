-- phase: pre
-- locks: dripd.enroll_request
-- takes: instant
-- Requests of contacts who are busy elsewhere wait until they are free.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.enroll_request ADD COLUMN queued_for int8;
