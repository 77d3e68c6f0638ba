-- phase: pre
-- locks: dripd.run against writing
-- takes: scan
-- A run that ends changes no index: the status stood in the predicates of two, so that each end
-- was written anew to every index of the table. What is held or converses says so by itself, and
-- new pages keep room for the ends.

SET LOCAL ROLE dripd_owner;

DROP INDEX dripd.run_held;
CREATE INDEX run_held ON dripd.run (id, hold_reason) WHERE hold_reason IS NOT NULL;
DROP INDEX dripd.run_conversation;
CREATE INDEX run_conversation ON dripd.run (account_id, conversation_ref) WHERE conversation_ref IS NOT NULL;
ALTER TABLE dripd.run SET (fillfactor = 70);
