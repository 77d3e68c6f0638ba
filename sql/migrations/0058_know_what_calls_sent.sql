-- phase: pre
-- locks: dripd.individual_send against writing
-- takes: scan
-- Which message a call of the outbox has sent: what may have left is in doubt, what surely has not goes again.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.individual_send ADD COLUMN call_id int8;

CREATE INDEX individual_send_of_call ON dripd.individual_send (account_id, call_id) WHERE call_id IS NOT NULL;
