-- phase: pre
-- locks: dripd.step_log, dripd.individual_send and dripd.notification against writing
-- takes: scan
-- What a console asks, at ten million runs: large campaigns as they were counted last, unknown
-- deliveries by their instant, notices by id.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.campaign_tally (
    account_id int4 NOT NULL,
    campaign_id int4 NOT NULL,
    at timestamptz(3) NOT NULL DEFAULT dripd.now(),
    counted_at timestamptz NOT NULL DEFAULT clock_timestamp(),  -- real time: how old it is
    took_ms int4 NOT NULL,
    figures jsonb NOT NULL,
    PRIMARY KEY (account_id, campaign_id)
);

CREATE INDEX step_log_unknown_at ON dripd.step_log (leased_at, enrollment_id, seq) WHERE state = 3 AND channel > 0;
CREATE INDEX individual_send_unknown ON dripd.individual_send (leased_at) WHERE state = 'unknown';
CREATE INDEX notification_by_id ON dripd.notification (id);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.campaign_tally TO dripd_daemon;
