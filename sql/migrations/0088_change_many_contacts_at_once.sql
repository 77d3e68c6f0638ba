-- phase: pre
-- locks: nothing
-- takes: instant
-- A session plans its triggers once, for as few rows as it changed then: a nested loop over 4,000 contacts takes 13 s.

SET LOCAL ROLE dripd_owner;

ALTER FUNCTION dripd.tell_fields_changed() SET enable_nestloop = off;
ALTER FUNCTION dripd.tell_companies_changed() SET enable_nestloop = off;
