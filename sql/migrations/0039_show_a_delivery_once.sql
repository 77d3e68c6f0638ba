-- phase: pre
-- locks: dripd.delivery, for an instant
-- takes: instant
-- A message in doubt that was being sent again stood in the view twice: as it is on record, and as leased.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE VIEW dripd.delivery AS
SELECT l.enrollment_id || '-' || l.seq AS id,
    l.account_id,
    l.enrollment_id,
    s.key AS step_key,
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
JOIN dripd.version_step AS s ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
LEFT JOIN dripd.sender AS f ON f.account_id = l.account_id AND f.id = l.sender_id
WHERE l.channel > 0 AND l.state BETWEEN 1 AND 4
UNION ALL
SELECT d.enrollment_id || '-' || d.seq,
    d.account_id,
    d.enrollment_id,
    s.key,
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
LEFT JOIN dripd.sender AS f ON f.account_id = i.account_id AND f.id = i.sender_id;
