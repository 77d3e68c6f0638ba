-- phase: pre
-- locks: enrollment, delivery, dripd.campaign, dripd.campaign_version and dripd.version_step, for an instant
-- takes: instant
-- Whoever filtered the views by a campaign's or a step's key had every row of one compared with every row of the other.

SET LOCAL ROLE dripd_owner;

-- an expression of a left join stays one: a filter on a column would make it an inner join, thought to leave one row of thousands
CREATE OR REPLACE VIEW dripd.enrollment AS
SELECT r.id,
    r.account_id,
    coalesce(c.key, '') AS campaign_key,
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
LEFT JOIN dripd.campaign AS c ON c.account_id = r.account_id AND c.id = r.campaign_id
LEFT JOIN dripd.campaign_version AS v ON v.account_id = r.account_id AND v.id = r.cv_id
LEFT JOIN dripd.account AS a ON a.id = r.account_id
LEFT JOIN dripd.due_step AS d ON d.account_id = r.account_id AND d.enrollment_id = r.id AND r.status = 1
LEFT JOIN dripd.version_step AS s ON s.account_id = d.account_id AND s.cv_id = d.cv_id AND s.step_no = d.step_no
LEFT JOIN dripd.park AS w  -- the whole account
    ON w.account_id = d.account_id AND w.lane = -1 AND d.lane >= 0 AND d.due_at <= (SELECT dripd.now())
LEFT JOIN dripd.park AS p
    ON p.account_id = d.account_id AND p.lane = d.lane AND d.lane >= 0 AND d.due_at <= (SELECT dripd.now())
WHERE (SELECT dripd.sees_all(current_user));

CREATE OR REPLACE VIEW dripd.delivery AS
SELECT l.enrollment_id || '-' || l.seq AS id,
    l.account_id,
    l.enrollment_id,
    coalesce(s.key, '') AS step_key,
    l.run_no::int4 AS run_no,
    CASE l.channel WHEN 1 THEN 'email' ELSE 'sms' END AS channel,
    l.sender_id,
    l.to_address,
    'dripd:' || (SELECT id FROM dripd.deployment) || ':' || l.enrollment_id || ':' || l.run_no || ':' || s.key
        AS idempotency_key,
    CASE l.state WHEN 1 THEN 'accepted' WHEN 2 THEN 'failed' WHEN 3 THEN 'unknown' ELSE 'cancelled' END AS state,
    l.attempt::int4 AS attempt,
    f.provider,
    l.provider_id,
    l.segments::int4 AS segments,
    l.subject,
    l.leased_at,
    l.sent_at,
    CASE WHEN l.state = 1 THEN l.at END AS accepted_at,
    l.reason
FROM dripd.step_log AS l
LEFT JOIN dripd.version_step AS s ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
LEFT JOIN dripd.sender AS f ON f.account_id = l.account_id AND f.id = l.sender_id
WHERE l.channel > 0 AND l.state BETWEEN 1 AND 4 AND (SELECT dripd.sees_all(current_user))
UNION ALL
SELECT d.enrollment_id || '-' || d.seq,
    d.account_id,
    d.enrollment_id,
    coalesce(s.key, ''),
    d.run_no::int4,
    s.kind,
    NULL::int4,
    NULL,
    'dripd:' || (SELECT id FROM dripd.deployment) || ':' || d.enrollment_id || ':' || d.run_no || ':' || s.key,
    'leased',
    (greatest(d.attempt, 0) + 1)::int4,
    NULL,
    NULL,
    NULL::int4,
    NULL,
    k.leased_at,
    NULL::timestamptz,
    NULL::timestamptz,
    NULL
FROM dripd.claim AS k
CROSS JOIN LATERAL unnest(k.account_ids) AS held (account_id)
JOIN dripd.due_step AS d
    ON d.account_id = held.account_id
    AND d.due_at BETWEEN k.due_lo AND k.due_hi
    AND d.claim_id = k.claim_id
JOIN dripd.version_step AS s ON s.account_id = d.account_id AND s.cv_id = d.cv_id AND s.step_no = d.step_no
WHERE s.kind IN ('email', 'sms') AND d.flags & 2 = 0  -- in doubt: on record above, once
    AND (SELECT dripd.sees_all(current_user))
UNION ALL
SELECT 'i-' || i.id,
    i.account_id,
    NULL::int8,
    NULL,
    NULL::int4,
    i.channel,
    i.sender_id,
    i.to_address,
    'dripd:' || (SELECT id FROM dripd.deployment) || ':i-' || i.id,
    i.state,
    1,
    f.provider,
    i.provider_id,
    i.segments::int4,
    i.subject,
    i.leased_at,
    i.sent_at,
    i.accepted_at,
    i.reason
FROM dripd.individual_send AS i
LEFT JOIN dripd.sender AS f ON f.account_id = i.account_id AND f.id = i.sender_id
WHERE (SELECT dripd.sees_all(current_user));

-- they are too few to be analysed after fifty changes, and what is joined to them is counted by what is known of them
ALTER TABLE dripd.campaign SET (autovacuum_analyze_threshold = 0);
ALTER TABLE dripd.campaign_version SET (autovacuum_analyze_threshold = 0);
ALTER TABLE dripd.version_step SET (autovacuum_analyze_threshold = 0);
