-- phase: pre
-- locks: dripd.outbox, access exclusive, for an instant
-- takes: instant
-- A call may be about a contact without a run: the mail that answers a form or a click.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.outbox
    ALTER COLUMN enrollment_id DROP NOT NULL,
    ADD COLUMN contact_id int8,  -- these three where there is no run
    ADD COLUMN cv_id int4,
    ADD COLUMN step_no int2;
