-- phase: pre
-- locks: dripd.campaign_version
-- takes: rewrite
-- Admission judges `require` by the address that `field_map` names, and reads a contact's attrs only where a version does.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.campaign_version ADD COLUMN maps boolean NOT NULL GENERATED ALWAYS AS (definition ? 'field_map') STORED;
