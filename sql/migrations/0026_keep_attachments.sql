-- phase: pre
-- locks: nothing that exists
-- takes: instant
-- Files that go with mails, known by what they hold, in parts of 512 KiB.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.attachment (
    account_id int4 NOT NULL REFERENCES dripd.account (id),
    sha256 text NOT NULL,
    part int4 NOT NULL,
    size int4 NOT NULL,  -- of the whole file
    data bytea NOT NULL,
    PRIMARY KEY (account_id, sha256, part),
    CONSTRAINT a_file_has_a_size CHECK (size >= 0)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.attachment TO dripd_daemon;
