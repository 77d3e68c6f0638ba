-- phase: pre
-- locks: dripd.individual_send against writing
-- takes: scan
-- Individual messages under way are few, and looked for with every sweep; the others grow for ever.

SET LOCAL ROLE dripd_owner;

CREATE INDEX individual_send_leased ON dripd.individual_send (incarnation) WHERE state = 'leased';
