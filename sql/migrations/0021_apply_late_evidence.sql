-- phase: pre
-- locks: dripd.late_evidence, for an instant
-- takes: instant
-- What came back after its claim was lost settles what had been called unknown.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.late_evidence ADD COLUMN applied_at timestamptz;
CREATE INDEX late_evidence_open ON dripd.late_evidence (account_id, id) WHERE applied_at IS NULL AND state = 1;
