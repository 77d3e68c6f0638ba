-- phase: pre
-- locks: dripd.claim, for an instant
-- takes: instant
-- A claim that was taken over names who held it before: their journals say what left.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.claim ADD COLUMN adopted_from int8[];
