-- phase: pre
-- locks: dripd.run, dripd.task and dripd.notification against writing
-- takes: scan
-- What a console lists at ten million runs: runs held by themselves, approvals, one's notices.

SET LOCAL ROLE dripd_owner;

CREATE INDEX run_held ON dripd.run (id, hold_reason) WHERE hold_reason IS NOT NULL AND status = 1;
CREATE INDEX task_approval ON dripd.task (created_at) WHERE state = 'open' AND kind = 'approval';
CREATE INDEX notification_recipient ON dripd.notification (recipient, id);
