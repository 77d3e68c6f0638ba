-- phase: pre
-- locks: dripd.outbox for an instant
-- takes: instant
-- A call over which a daemon died is made again as soon as that daemon is known to be dead.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.outbox ADD COLUMN taken_by int8;  -- an incarnation
