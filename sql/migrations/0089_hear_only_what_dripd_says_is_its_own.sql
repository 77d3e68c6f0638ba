-- phase: post
-- locks: dripd.event_in for an instant
-- takes: instant
-- What dripd tells says so: no session is taken for a daemon by its name any more, a superuser's neither.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.event_in ALTER COLUMN internal SET DEFAULT false;
