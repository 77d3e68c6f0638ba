-- phase: pre
-- locks: dripd.individual_send against writing
-- takes: scan
-- The latest of all accounts are listed by their number; without an index each look sorts all there ever were.

SET LOCAL ROLE dripd_owner;

CREATE INDEX individual_send_by_id ON dripd.individual_send (id);
