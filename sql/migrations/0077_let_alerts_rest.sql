-- phase: pre
-- locks: nothing
-- takes: instant
-- An alert that somebody knows of is snoozed, for every console.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.snooze (  -- alerts that nobody needs to look at until then
    what text NOT NULL,
    place text NOT NULL,
    level text NOT NULL,  -- how bad it was: one that grows worse is awake
    until_at timestamptz(3) NOT NULL,
    created_by text NOT NULL,
    reason text,
    PRIMARY KEY (what, place)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.snooze TO dripd_daemon;
