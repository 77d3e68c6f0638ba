-- phase: pre
-- locks: dripd.node, for an instant
-- takes: instant
-- An operator can take a daemon out of service without stopping it.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.node ADD COLUMN drain boolean NOT NULL DEFAULT false;  -- asked for by an operator
