-- phase: pre
-- locks: nothing
-- takes: instant
-- Who makes partitions waits half a second for the default partition, as who drops some does: behind him all wait.

SET LOCAL ROLE dripd_owner;

ALTER FUNCTION dripd.make_partitions(timestamptz, int4) SET lock_timeout = '500ms';
