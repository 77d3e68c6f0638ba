-- phase: pre
-- locks: dripd.node, access exclusive, for an instant; admin_audit, task, notification, share
-- takes: scan, of the audit, the tasks and the notifications
-- What every daemon says of itself, for all consoles; a request id has its effect once; what
-- waits for a person is found without reading what is done.

ALTER TABLE dripd.node ADD COLUMN figures jsonb NOT NULL DEFAULT '{}';

CREATE UNIQUE INDEX audit_request ON dripd.admin_audit (uid, request_id) WHERE request_id IS NOT NULL;

CREATE INDEX task_open ON dripd.task (id) WHERE state = 'open';

CREATE INDEX notification_unread ON dripd.notification (id) WHERE read_at IS NULL;
