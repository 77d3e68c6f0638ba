-- phase: pre
-- locks: dripd.nudge and dripd.late_evidence, for as long as indexing them takes
-- takes: scan
-- The two keys that left the account out, so that the schema can be distributed by account.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.nudge DROP CONSTRAINT nudge_pkey, ADD PRIMARY KEY (account_id, id);
CREATE INDEX nudge_by_id ON dripd.nudge (id);  -- `look` reads them in this order
ALTER TABLE dripd.late_evidence DROP CONSTRAINT late_evidence_pkey, ADD PRIMARY KEY (account_id, id);
