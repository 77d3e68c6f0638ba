-- phase: pre
-- locks: cap_usage
-- takes: instant
-- Days are kept ahead: of those without usage only today is shown.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE VIEW dripd.cap_usage AS
SELECT ad.account_id, ad.local_date, u.source, u.n
FROM dripd.account_day AS ad
CROSS JOIN LATERAL (VALUES
    ('program', ad.used), ('bulk', ad.bulk), ('individual', ad.individual), ('internal', ad.internal)
) AS u (source, n)
WHERE u.n > 0
    OR u.source = 'program'
    AND ad.starts_at <= (SELECT dripd.now())
    AND ad.ends_at > (SELECT dripd.now());
