-- phase: pre
-- locks: contact_active
-- takes: instant
-- Of a step that is held next_send_at named the instant at which it had come due, in the past.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE VIEW dripd.contact_active AS
SELECT r.account_id, r.contact_id, c.key AS campaign_key,
    greatest(d.due_at, CASE WHEN r.hold_reason IS NOT NULL THEN r.release_at ELSE coalesce(w.release_at, p.release_at) END)
        AS next_send_at
FROM dripd.run AS r
JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
LEFT JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id
LEFT JOIN dripd.park AS w  -- the whole account
    ON w.account_id = d.account_id AND w.lane = -1 AND d.lane >= 0 AND d.due_at <= (SELECT dripd.now())
LEFT JOIN dripd.park AS p
    ON p.account_id = d.account_id AND p.lane = d.lane AND d.lane >= 0 AND d.due_at <= (SELECT dripd.now())
WHERE r.status = 1;
