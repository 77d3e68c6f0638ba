-- phase: pre
-- locks: dripd.sender, for an instant
-- takes: instant
-- What bounced of what a sender sent, or was complained of: too much of it stops the sender.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.sender
    ADD COLUMN pause_reason text,  -- bounce_rate, complaint_rate; NULL: an operator's
    ADD COLUMN judged_from timestamptz(3);  -- it was resumed then: what lies before is forgiven

CREATE TABLE dripd.sender_mark (
    account_id int4 NOT NULL REFERENCES dripd.account (id),
    sender_id int4 NOT NULL,
    event_id int8 NOT NULL,
    at timestamptz(3) NOT NULL,
    kind text NOT NULL,
    PRIMARY KEY (account_id, sender_id, event_id),
    CONSTRAINT a_mark_is_known CHECK (kind IN ('bounce', 'complaint'))
);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.sender_mark TO dripd_daemon;
