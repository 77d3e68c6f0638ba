-- phase: pre
-- locks: dripd.deployment for an instant
-- takes: instant
-- When nobody was at work: what came due in that time goes out paced.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.deployment ADD COLUMN served_at timestamptz(3);  -- up to here somebody was at work

CREATE TABLE dripd.standstill (  -- nobody was at work from `from_at` to before `until_at`
    from_at timestamptz(3) PRIMARY KEY,
    until_at timestamptz(3) NOT NULL,
    CONSTRAINT it_has_a_length CHECK (until_at > from_at)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.standstill TO dripd_daemon;
