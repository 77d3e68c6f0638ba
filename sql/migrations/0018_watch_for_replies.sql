-- phase: pre
-- locks: nothing that exists
-- takes: instant
-- Messages of which somebody is told if no reply comes in time.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.reply_watch (
    account_id int4 NOT NULL,
    enrollment_id int8 NOT NULL,
    seq int4 NOT NULL,
    contact_id int8 NOT NULL,
    step_key text NOT NULL,
    recipient text NOT NULL,
    since timestamptz(3) NOT NULL DEFAULT dripd.now(),
    due_at timestamptz(3) NOT NULL,
    PRIMARY KEY (account_id, enrollment_id, seq)
);
CREATE INDEX reply_watch_due ON dripd.reply_watch (due_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.reply_watch TO dripd_daemon;
