-- phase: pre
-- locks: nothing that exists
-- takes: instant
-- Events of providers that no delivery could be found for, until one is.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.event_parked (
    provider text NOT NULL,
    event_key text NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- real time: it waits for our own record
    told jsonb NOT NULL,
    PRIMARY KEY (provider, event_key)
);
CREATE INDEX event_parked_age ON dripd.event_parked (parked_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.event_parked TO dripd_daemon;
