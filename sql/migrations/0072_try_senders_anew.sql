-- phase: pre
-- locks: dripd.sender
-- takes: instant
-- A provider whose breaker is open is tried before its time: daemons hear of it by the sender.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.sender ADD COLUMN probes int4 NOT NULL DEFAULT 0;  -- how often somebody had it tried
