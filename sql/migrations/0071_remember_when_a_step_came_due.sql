-- phase: pre
-- locks: dripd.run for an instant
-- takes: instant
-- A step that a hold of its own puts off expires by when it first came due, not by when it was let go.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.run ADD COLUMN due_was timestamptz(3);  -- of a step that is put off (flag 1024 of due_step)
