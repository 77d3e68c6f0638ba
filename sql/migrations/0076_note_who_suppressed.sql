-- phase: pre
-- locks: dripd.suppression
-- takes: instant
-- Who made a standing order stands in it: an operator, an event, or the role that wrote the row.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.suppression
    ADD COLUMN created_by text;  -- NULL: before dripd noted it
ALTER TABLE dripd.suppression
    ALTER COLUMN created_by SET DEFAULT session_user;
