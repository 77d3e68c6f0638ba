-- phase: pre
-- locks: nothing that exists
-- takes: instant
-- How often a step was taken over from a dead daemon, unperformed: one that kills them is set aside.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.recovery (
    account_id int4 NOT NULL,
    enrollment_id int8 NOT NULL,
    seq int4 NOT NULL,
    at timestamptz[] NOT NULL,  -- real time
    PRIMARY KEY (account_id, enrollment_id, seq)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.recovery TO dripd_daemon;
