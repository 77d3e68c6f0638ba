-- phase: pre
-- locks: dripd.attachment, while its index is made
-- takes: scan
-- Files that nobody uses, and uploads that were never finished, are swept: each is looked at once a day.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.attachment ADD COLUMN looked_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE dripd.attachment ALTER COLUMN looked_at SET DEFAULT clock_timestamp();
CREATE INDEX attachment_looked_at ON dripd.attachment (looked_at);
