-- phase: pre
-- locks: the doors, dripd.account, dripd.campaign, dripd.sender and what else members of dripd_writer read, for an instant
-- takes: instant
-- Who writes for some accounts alone (account.writer) read the rows of all, and rules of the sink were everybody's.

SET LOCAL ROLE dripd_owner;

-- Who may write for some accounts alone reads of those alone; readers, daemons and whoever may write for all read all.
CREATE FUNCTION dripd.reads_all(who name) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
    SELECT NOT pg_has_role(who, 'dripd_writer', 'member')
        OR pg_has_role(who, 'dripd_reader', 'member')
        OR pg_has_role(who, 'dripd_daemon', 'member')
        OR NOT EXISTS (
            SELECT FROM dripd.account AS a
            LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = a.writer
            WHERE a.writer IS NOT NULL AND (r.oid IS NULL OR NOT pg_has_role(who, r.oid, 'member')))
$$;

-- The views pass over the policies of their tables: they are for those who read all.
CREATE FUNCTION dripd.sees_all(who name) RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    IF NOT dripd.reads_all(who) THEN
        RAISE EXCEPTION 'this shows every account, and some are not yours' USING ERRCODE = 'insufficient_privilege',
            HINT = 'enroll_request, task, ledger and the other tables show what is yours; a member of dripd_reader sees all';
    END IF;
    RETURN true;
END
$$;

-- For functions that act with their owner's rights, whoever calls them.
CREATE FUNCTION dripd.may_read(account int4) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
    SELECT dripd.reads_all(coalesce(nullif(current_setting('role'), 'none'), session_user)::name) OR dripd.may_write(account)
$$;

CREATE OR REPLACE FUNCTION dripd.may_send(contact_id int8, channel text, OUT ok boolean, OUT campaign_key text, OUT next_send_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
    SELECT k.id IS NOT NULL AND busy.campaign_key IS NULL AND NOT EXISTS (
            SELECT FROM dripd.suppression AS s
            WHERE s.address_h = hashtextextended(lower(CASE may_send.channel WHEN 'sms' THEN k.phone ELSE k.email END), 0)
                AND s.account_id IN (k.account_id, 0)
                AND s.channel = may_send.channel
                AND (s.expires_at IS NULL OR s.expires_at > dripd.now())
        ),
        busy.campaign_key,
        busy.next_send_at
    FROM (SELECT may_send.contact_id AS id) AS asked
    LEFT JOIN dripd.contact AS k ON k.id = asked.id AND k.erased_at IS NULL AND dripd.may_read(k.account_id)
    LEFT JOIN LATERAL (
        SELECT a.campaign_key, a.next_send_at
        FROM dripd.contact_active AS a
        WHERE a.account_id = k.account_id AND a.contact_id = k.id
        ORDER BY a.next_send_at
        LIMIT 1
    ) AS busy ON true
$$;

ALTER TABLE dripd.sink_rule ADD COLUMN account_id int4 NOT NULL DEFAULT 0;  -- 0: all of them
ALTER TABLE dripd.sink_rule DROP CONSTRAINT sink_rule_pkey, ADD PRIMARY KEY (account_id, id);

DO $$
DECLARE
    door text;
BEGIN
    FOREACH door IN ARRAY ARRAY['contact', 'company', 'contact_list', 'list_member', 'contact_tag', 'event_in', 'suppression',
        'task', 'diary', 'template', 'field'] LOOP
        EXECUTE format('ALTER POLICY read ON dripd.%I USING ((SELECT dripd.reads_all(current_user)) OR dripd.may_write(account_id))', door);
    END LOOP;
END
$$;
ALTER POLICY read ON dripd.enroll_request
    USING ((SELECT dripd.reads_all(current_user)) OR dripd.may_write(account_id, account_key));

DO $$
DECLARE
    shown text;
BEGIN
    FOREACH shown IN ARRAY ARRAY['event_log', 'operator', 'sender', 'connector', 'campaign', 'campaign_version',
        'campaign_trigger', 'notification', 'ledger', 'meter', 'sink_message', 'sink_rule'] LOOP
        EXECUTE format('ALTER TABLE dripd.%I ENABLE ROW LEVEL SECURITY', shown);
        EXECUTE format('CREATE POLICY daemon ON dripd.%I TO dripd_daemon USING (true) WITH CHECK (true)', shown);
        EXECUTE format('CREATE POLICY read ON dripd.%I FOR SELECT USING ((SELECT dripd.reads_all(current_user)) OR dripd.may_write(account_id))', shown);
    END LOOP;
END
$$;
CREATE POLICY add ON dripd.sink_rule FOR INSERT TO dripd_writer WITH CHECK (dripd.may_write(account_id));
ALTER TABLE dripd.account ENABLE ROW LEVEL SECURITY;
CREATE POLICY daemon ON dripd.account TO dripd_daemon USING (true) WITH CHECK (true);
CREATE POLICY read ON dripd.account FOR SELECT USING ((SELECT dripd.reads_all(current_user)) OR dripd.may_write(id));
CREATE POLICY add ON dripd.account FOR INSERT TO dripd_writer WITH CHECK (true);

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
    ON p.account_id = d.account_id AND p.lane = d.lane AND d.lane >= 0 AND d.due_at <= (SELECT dripd.now())
WHERE (SELECT dripd.sees_all(current_user));

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
WHERE l.state > 0 AND (SELECT dripd.sees_all(current_user));

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
WHERE l.channel > 0 AND l.state BETWEEN 1 AND 4 AND (SELECT dripd.sees_all(current_user))
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

CREATE OR REPLACE VIEW dripd.journal AS
SELECT r.started_at AS at, coalesce(r.source, 'dripd') AS actor, r.account_id, r.id AS enrollment_id,
    'accepted' AS kind, jsonb_build_object('run_no', r.run_no, 'campaign_id', r.campaign_id) AS detail
FROM dripd.run AS r
WHERE (SELECT dripd.sees_all(current_user))
UNION ALL
SELECT l.at, 'dripd', l.account_id, l.enrollment_id,
    CASE WHEN l.state = 6 THEN 'step_skipped' WHEN l.state = 2 THEN 'step_failed'
        WHEN l.state = 4 THEN 'step_cancelled' ELSE 'step_done' END,
    jsonb_strip_nulls(jsonb_build_object('seq', l.seq, 'step_key', s.key, 'reason', l.reason,
        'unknown', CASE WHEN l.state = 3 THEN true END))
FROM dripd.step_log AS l
JOIN dripd.version_step AS s ON s.account_id = l.account_id AND s.cv_id = l.cv_id AND s.step_no = l.step_no
WHERE l.state > 0 AND (SELECT dripd.sees_all(current_user))
UNION ALL
SELECT r.ended_at, 'dripd', r.account_id, r.id,
    CASE r.status WHEN 2 THEN 'completed' WHEN 3 THEN 'removed' ELSE 'terminated' END,
    jsonb_build_object('reason', r.end_reason)
FROM dripd.run AS r
WHERE r.status > 1 AND (SELECT dripd.sees_all(current_user))
UNION ALL
SELECT at, actor, account_id, enrollment_id, kind, detail
FROM dripd.journal_log
WHERE (SELECT dripd.sees_all(current_user));

CREATE OR REPLACE VIEW dripd.cap_usage AS
SELECT ad.account_id, ad.local_date, u.source, u.n
FROM dripd.account_day AS ad
CROSS JOIN LATERAL (VALUES
    ('program', ad.used), ('bulk', ad.bulk), ('individual', ad.individual), ('internal', ad.internal)
) AS u (source, n)
WHERE (u.n > 0
        OR u.source = 'program'
        AND ad.starts_at <= (SELECT dripd.now())
        AND ad.ends_at > (SELECT dripd.now()))
    AND (SELECT dripd.sees_all(current_user));

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
) AS m ON m.account_id = c.account_id AND m.campaign_id = c.id
WHERE (SELECT dripd.sees_all(current_user));

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
WHERE r.status = 1 AND (SELECT dripd.sees_all(current_user));

CREATE OR REPLACE VIEW dripd.ledger_fault AS  -- empty, or money is not where it should be
SELECT c.account_id, c.enrollment_id, c.step_key, 'not_refunded' AS fault, c.amount
FROM dripd.covered AS c
WHERE c.status > 1 AND NOT c.sent AND NOT c.in_flight AND dripd.is_refunded(c.end_reason, c.refund_on)
    AND NOT EXISTS (SELECT FROM dripd.ledger AS l
        WHERE l.account_id = c.account_id AND l.enrollment_id = c.enrollment_id AND l.step_key = c.step_key
            AND l.kind = 'refund' AND l.amount = c.amount)
    AND (SELECT dripd.sees_all(current_user))
UNION ALL
SELECT c.account_id, c.enrollment_id, c.step_key, 'refunded_though_sent', c.amount
FROM dripd.covered AS c
JOIN dripd.ledger AS l
    ON l.account_id = c.account_id AND l.enrollment_id = c.enrollment_id AND l.step_key = c.step_key AND l.kind = 'refund'
WHERE c.sent AND l.amount >= c.amount AND (SELECT dripd.sees_all(current_user))
UNION ALL
SELECT r.account_id, r.id, NULL, 'charge_is_not_its_parts', k.charged
FROM dripd.run AS r
CROSS JOIN LATERAL (
    SELECT coalesce(sum(l.amount), 0) AS charged
    FROM dripd.ledger AS l
    WHERE l.account_id = r.account_id AND l.enrollment_id = r.id AND l.kind = 'charge' AND l.step_key IS NULL
) AS k
WHERE r.paid IS NOT NULL
    AND k.charged <> (SELECT coalesce(sum((m.value ->> 'amount')::numeric), 0)
        FROM jsonb_each(r.paid -> 'messages') AS m)
    AND (SELECT dripd.sees_all(current_user))
UNION ALL
SELECT p.account_id, NULL, NULL, 'balance_is_not_the_sum', p.balance
FROM dripd.purse AS p
WHERE p.balance <> (SELECT coalesce(sum(CASE l.kind WHEN 'charge' THEN -l.amount ELSE l.amount END), 0)
    FROM dripd.ledger AS l WHERE l.account_id = p.account_id)
    AND (SELECT dripd.sees_all(current_user));
