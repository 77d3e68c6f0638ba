-- phase: pre
-- locks: nothing
-- takes: instant
-- Daemons tell each other what has left through senders lately: whoever is asked may be another than the one that serves
-- their account.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.sender_traffic (  -- what each daemon has seen of a sender
    account_id int4 NOT NULL,
    sender_id int4 NOT NULL,
    incarnation int8 NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- real time
    figures jsonb NOT NULL,
    PRIMARY KEY (account_id, sender_id, incarnation)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.sender_traffic TO dripd_daemon;
