-- phase: pre
-- locks: dripd.sender, for an instant
-- takes: instant
-- A sender may rest between two messages; what leaves of its day is counted for all daemons.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.sender ADD COLUMN gap text;  -- '60s-120s'

CREATE TABLE dripd.sender_turn (
    account_id int4 NOT NULL REFERENCES dripd.account (id),
    sender_id int4 NOT NULL,
    starts_at timestamptz(3),  -- of the local day that is counted
    used int4 NOT NULL DEFAULT 0,
    next_at timestamptz(3),  -- when the gap behind the last message is over
    PRIMARY KEY (account_id, sender_id)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.sender_turn TO dripd_daemon;
