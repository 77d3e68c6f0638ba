-- name: examine_server :one
-- How the server is set, and what we may do on it. Needs no schema of ours.
SELECT current_setting('server_version') AS version,
    current_setting('server_version_num')::int4 AS version_num,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('autovacuum') AS autovacuum,
    current_setting('default_transaction_read_only') AS read_only,
    current_setting('max_connections')::int4 AS max_connections,
    current_setting('superuser_reserved_connections')::int4 AS reserved,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::int4 AS connected,
    coalesce((SELECT max(extract(epoch FROM clock_timestamp() - a.xact_start)) FROM pg_stat_activity AS a
        WHERE a.datname = current_database() AND a.backend_xmin IS NOT NULL AND a.pid <> pg_backend_pid()), 0)::int4 AS snapshot_s,
    pg_is_in_recovery() AS standby,
    current_user::text AS role,
    clock_timestamp() AS real_now,
    ARRAY(SELECT r.rolname::text FROM pg_roles AS r
        WHERE r.rolname IN ('dripd_owner', 'dripd_daemon', 'dripd_writer', 'dripd_reader')) AS roles,
    to_regclass('dripd.migration') IS NOT NULL AS migrated;

-- name: examine_deployment :one
-- What of the deployment wants attention. Lists are cut at 20 names, counts at 1,000.
SELECT has_table_privilege('dripd.due_step', 'SELECT, UPDATE')
        AND has_table_privilege('dripd.admin_audit', 'INSERT') AS may_work,
    ARRAY(SELECT DISTINCT s.provider FROM dripd.sender AS s WHERE s.status = 'active') AS providers,
    (SELECT count(*) FROM (SELECT FROM dripd.account WHERE status = 'active' LIMIT 2) AS part)::int4 AS tenants,
    ARRAY(SELECT DISTINCT a.timezone FROM dripd.account AS a WHERE a.status <> 'closed') AS zones,
    coalesce((SELECT jsonb_agg(jsonb_build_array(n.name, n.figures ->> 'zones') ORDER BY n.name) FROM dripd.node AS n
        WHERE NOT n.dead AND n.figures ->> 'zones' <> ''), '[]') AS zone_rules,
    ARRAY(SELECT DISTINCT c.secret FROM dripd.connector AS c WHERE c.secret <> '') AS secrets,
    ARRAY(SELECT a.key FROM dripd.account AS a
        WHERE a.status = 'active'
            AND EXISTS (SELECT FROM dripd.campaign AS c WHERE c.account_id = a.id AND c.status = 'active')
            AND NOT EXISTS (SELECT FROM dripd.sender AS s WHERE s.account_id = a.id AND s.status = 'active')
        ORDER BY a.key LIMIT 20) AS senderless,
    ARRAY(SELECT a.key || ': ' || p.reason FROM dripd.park AS p JOIN dripd.account AS a ON a.id = p.account_id
        WHERE p.lane = -1
        ORDER BY a.key LIMIT 20) AS parked,
    ARRAY(SELECT n.name FROM dripd.node AS n
        WHERE NOT n.dead AND n.beat_at < clock_timestamp() - interval '15 seconds'
        ORDER BY n.name LIMIT 20) AS lost,
    (SELECT count(*) FROM dripd.node AS n
        WHERE NOT n.dead AND n.beat_at >= clock_timestamp() - interval '15 seconds')::int4 AS alive,
    (SELECT count(DISTINCT n.version) FROM dripd.node AS n WHERE NOT n.dead)::int4 AS versions,
    (SELECT count(*) FROM (SELECT FROM dripd.enroll_request WHERE status = 'pending' AND queued_for IS NULL LIMIT 1000) AS part)::int4 AS pending,
    (SELECT count(*) FROM (SELECT FROM dripd.event_in LIMIT 1000) AS part)::int4 AS events,
    (SELECT count(*) FROM (
        SELECT FROM dripd.step_log
        WHERE state = 3 AND reason IS DISTINCT FROM 'presumed_sent'  -- nobody waits for those any more
        LIMIT 1000) AS part)::int4 AS unknown,
    (SELECT count(*) FROM (
        SELECT FROM dripd.account AS a
        JOIN dripd.due_step AS d ON d.account_id = a.id AND d.lane = -1
        JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id
        WHERE r.hold_reason IN ('quarantined', 'step_failed', 'connector_missing', 'no_sender')
        LIMIT 1000) AS part)::int4 AS broken;

-- name: zone_offsets :many
-- How far zones are ahead of UTC by the rules of the server, every fortnight of two years from now. What Postgres also
-- knows as an abbreviation, such as CET, it reads as one.
--   $1 zones text[]
SELECT z.name AS zone, t.at::int8 AS at_s,
    extract(epoch FROM (to_timestamp(t.at) AT TIME ZONE z.name) - (to_timestamp(t.at) AT TIME ZONE 'UTC'))::int4 AS ahead_s
FROM pg_timezone_names AS z
CROSS JOIN LATERAL (
    SELECT floor(extract(epoch FROM clock_timestamp()))::int8 + 1209600 * n AS at FROM generate_series(0, 52) AS n
) AS t
WHERE z.name = ANY ($1::text[]) AND NOT EXISTS (SELECT FROM pg_timezone_abbrevs AS b WHERE b.abbrev = upper(z.name));
