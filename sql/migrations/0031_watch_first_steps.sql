-- phase: pre
-- locks: nothing that exists
-- takes: instant
-- How the first steps of a version came out: a campaign that fails at its start is paused.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.first_steps (
    account_id int4 NOT NULL,
    cv_id int4 NOT NULL,
    done int4 NOT NULL,
    failed int4 NOT NULL,
    PRIMARY KEY (account_id, cv_id)
) WITH (fillfactor = 50);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.first_steps TO dripd_daemon;
