-- phase: pre
-- locks: dripd.campaign, for an instant
-- takes: instant
-- Runs that were in flight when a version was published with `--inflight migrate` follow to it also where the daemon
-- that published it is gone, or they take longer than it waits.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.campaign ADD COLUMN following jsonb;  -- by which map runs in flight pass to the live version
CREATE INDEX campaign_is_followed ON dripd.campaign (account_id, id) WHERE following IS NOT NULL;
