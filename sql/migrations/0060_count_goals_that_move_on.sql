-- phase: pre
-- locks: dripd.run and dripd.campaign_stats, for an instant
-- takes: instant
-- A goal that moves a run on into another sequence is one that was reached; and who reached one has completed.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.run ADD COLUMN reached boolean NOT NULL DEFAULT false;

CREATE OR REPLACE VIEW dripd.campaign_stats AS
SELECT c.account_id,
    c.key AS campaign_key,
    c.status,
    coalesce(r.enrolled, 0) AS enrolled,
    coalesce(r.active, 0) AS active,
    coalesce(r.completed, 0) AS completed,
    coalesce(r.removed, 0) AS removed,
    coalesce(r.terminated, 0) AS terminated,
    coalesce(r.goal, 0) AS goal,
    coalesce(m.sent, 0) AS sent
FROM dripd.campaign AS c
LEFT JOIN (
    SELECT account_id, campaign_id,
        count(*) AS enrolled,
        count(*) FILTER (WHERE status = 1) AS active,
        count(*) FILTER (WHERE status = 2) AS completed,
        count(*) FILTER (WHERE status = 3) AS removed,
        count(*) FILTER (WHERE status = 4) AS terminated,
        count(*) FILTER (WHERE reached OR end_reason LIKE 'goal:%') AS goal
    FROM dripd.run
    WHERE NOT stats_void
    GROUP BY account_id, campaign_id
) AS r ON r.account_id = c.account_id AND r.campaign_id = c.id
LEFT JOIN (
    SELECT v.account_id, v.campaign_id, count(*) AS sent
    FROM dripd.step_log AS l
    JOIN dripd.campaign_version AS v ON v.account_id = l.account_id AND v.id = l.cv_id
    JOIN dripd.run AS n ON n.account_id = l.account_id AND n.id = l.enrollment_id
    WHERE l.channel > 0 AND l.state IN (1, 3) AND NOT n.stats_void
    GROUP BY v.account_id, v.campaign_id
) AS m ON m.account_id = c.account_id AND m.campaign_id = c.id;
