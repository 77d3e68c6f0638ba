-- phase: pre
-- locks: dripd.deployment, for an instant
-- takes: instant
-- A database says where it was made, so that a copy of it elsewhere is known for one.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.deployment ADD COLUMN place text;
