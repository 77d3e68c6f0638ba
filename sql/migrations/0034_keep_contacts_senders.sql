-- phase: pre
-- locks: dripd.sender, for an instant
-- takes: instant
-- Which sender of a pool writes to a contact is kept: the same one, whatever comes to the pool.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.sender ADD COLUMN weight int4 NOT NULL DEFAULT 1
    CONSTRAINT a_weight_is_positive CHECK (weight BETWEEN 1 AND 1000);

CREATE TABLE dripd.contact_sender (
    account_id int4 NOT NULL REFERENCES dripd.account (id),
    contact_id int8 NOT NULL,
    channel text NOT NULL,
    pool text NOT NULL,  -- addresses with commas between; empty: all of the account
    sender_id int4 NOT NULL,
    PRIMARY KEY (account_id, contact_id, channel, pool)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.contact_sender TO dripd_daemon;
