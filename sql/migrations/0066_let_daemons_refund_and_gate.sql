-- phase: pre
-- locks: nothing
-- takes: instant
-- A daemon whose role has dripd_daemon alone opens the gates of its accounts and refunds what was not sent.

SET LOCAL ROLE dripd_owner;

GRANT EXECUTE ON FUNCTION dripd.refund_unsent, dripd.refresh_gates TO dripd_daemon;
