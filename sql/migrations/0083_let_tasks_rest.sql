-- phase: pre
-- locks: dripd.task against writing
-- takes: scan
-- A task that nobody can do yet is snoozed: out of the inbox until then, and told of then.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.task
    ADD COLUMN snoozed_until timestamptz(3),
    ADD COLUMN snoozed_by text;
CREATE INDEX task_snoozed ON dripd.task (snoozed_until) WHERE state = 'open' AND snoozed_until IS NOT NULL;
CREATE INDEX task_due ON dripd.task (due_at) WHERE state = 'open' AND due_at > created_at;
