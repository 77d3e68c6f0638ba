-- phase: pre
-- locks: dripd.deployment, for an instant
-- takes: instant
-- Daemons remember what they were told was committed, so that a database that lacks it - a standby promoted too early, a
-- backup put in its place - is known for one.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.deployment
    ADD COLUMN behind boolean NOT NULL DEFAULT false,  -- a daemon found commits missing, and nobody has adopted it since
    ADD COLUMN adoptions int4 NOT NULL DEFAULT 0;  -- how often somebody has: what daemons remember is of before

CREATE TABLE dripd.witness (  -- the last commits of a daemon, each in the slot of its number
    incarnation int8 NOT NULL,
    slot int2 NOT NULL,
    n int8 NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- real time
    PRIMARY KEY (incarnation, slot)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.witness TO dripd_daemon;
