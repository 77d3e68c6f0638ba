-- phase: pre
-- locks: dripd.sender, for an instant
-- takes: instant
-- A sender's daily limit may grow from day to day.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.sender ADD COLUMN warmup text;  -- '20 +10/d from 2026-01-05'
