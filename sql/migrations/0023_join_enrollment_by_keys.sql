-- phase: pre
-- locks: dripd.enrollment and dripd.step_run, for an instant
-- takes: instant
-- What holds a run was a lateral query, reckoned for every run whatever was asked of the view. Joined by whole
-- keys, what nobody asks for is not read, and the planner may begin where it likes. Names of steps are looked up
-- row by row: as a join on three columns they made it expect one row of a million.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE VIEW dripd.enrollment AS
SELECT r.id,
    r.account_id,
    c.key AS campaign_key,
    v.version,
    r.contact_id,
    r.run_no,
    CASE
        WHEN r.status = 2 THEN 'completed'
        WHEN r.status = 3 THEN 'removed'
        WHEN r.status = 4 THEN 'terminated'
        WHEN d.claim_id IS NOT NULL THEN 'executing'
        WHEN r.hold_reason IS NOT NULL OR a.status <> 'active' OR NOT a.subscription_active
            OR c.status IN ('paused', 'inactive', 'archived') OR w.reason IS NOT NULL OR p.reason IS NOT NULL
            THEN 'held'
        ELSE 'waiting'
    END AS status,
    r.end_reason,
    s.key AS step_key,
    d.due_at,
    CASE WHEN r.status = 1 AND d.claim_id IS NULL THEN coalesce(
        r.hold_reason,
        CASE
            WHEN a.status <> 'active' THEN 'account_paused'
            WHEN NOT a.subscription_active THEN 'no_subscription'
            WHEN c.status = 'paused' THEN 'paused'
            WHEN c.status IN ('inactive', 'archived') THEN 'inactive'
        END,
        w.reason,
        p.reason)
    END AS hold_reason,
    CASE
        WHEN r.status <> 1 OR d.claim_id IS NOT NULL THEN NULL
        WHEN r.hold_reason IS NOT NULL THEN r.release_at
        WHEN a.status <> 'active' OR NOT a.subscription_active OR c.status IN ('paused', 'inactive', 'archived')
            THEN NULL
        WHEN w.reason IS NOT NULL THEN w.release_at
        ELSE p.release_at
    END AS release_at,
    r.started_at,
    r.ended_at,
    r.reset_at,
    r.owner,
    r.conversation_ref
FROM dripd.run AS r
JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
JOIN dripd.campaign_version AS v ON v.account_id = r.account_id AND v.id = r.cv_id
JOIN dripd.account AS a ON a.id = r.account_id
LEFT JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id AND r.status = 1
LEFT JOIN dripd.version_step AS s ON s.account_id = d.account_id AND s.cv_id = d.cv_id AND s.step_no = d.step_no
LEFT JOIN dripd.park AS w  -- the whole account
    ON w.account_id = d.account_id AND w.lane = -1 AND d.lane >= 0 AND d.due_at <= (SELECT dripd.now())
LEFT JOIN dripd.park AS p
    ON p.account_id = d.account_id AND p.lane = d.lane AND d.lane >= 0 AND d.due_at <= (SELECT dripd.now());

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
    l.reason,
    l.leased_at AS started_at,
    l.at AS finished_at
FROM dripd.step_log AS l
WHERE l.state > 0;
