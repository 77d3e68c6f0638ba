-- phase: pre
-- locks: dripd.run and dripd.enroll_request
-- takes: instant
-- Where an event lets a run begin or go on: the sequence asked for, those that a run has been in.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.run ADD COLUMN entered int4;
ALTER TABLE dripd.enroll_request ADD COLUMN entry text;
