-- phase: pre
-- locks: step_run
-- takes: instant
-- A step whose message was refused says why as a run that ends by it does; what is known of a
-- message in doubt stands in `delivery`.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE VIEW dripd.step_run AS
SELECT l.account_id,
    l.enrollment_id,
    l.seq,
    (SELECT s.key FROM dripd.version_step AS s
        WHERE s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no) AS step_key,
    (SELECT s.kind FROM dripd.version_step AS s
        WHERE s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no) AS kind,
    CASE l.state
        WHEN 1 THEN 'done' WHEN 3 THEN 'done' WHEN 5 THEN 'done'
        WHEN 2 THEN 'failed' WHEN 4 THEN 'cancelled' ELSE 'skipped'
    END AS outcome,
    CASE
        WHEN l.state = 2 AND l.channel > 0 AND l.reason NOT LIKE 'unable:%' AND l.reason <> 'suppressed'
            THEN 'unable:' || l.reason
        WHEN l.state <> 3 THEN l.reason
    END AS reason,
    l.leased_at AS started_at,
    l.at AS finished_at
FROM dripd.step_log AS l
WHERE l.state > 0;
