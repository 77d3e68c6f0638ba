-- phase: pre
-- locks: nothing that exists
-- takes: instant
-- Which contacts have set an action in motion that is performed once for each.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.reaction (  -- actions on clicks and forms that a contact sets in motion only once
    account_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    contact_id int8 NOT NULL,
    handler text NOT NULL,
    at timestamptz NOT NULL DEFAULT dripd.now(),
    PRIMARY KEY (account_id, campaign_id, contact_id, handler)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.reaction TO dripd_daemon;
