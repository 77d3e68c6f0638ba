-- phase: pre
-- locks: nothing
-- takes: instant
-- may_send() answered NULL of a contact that does not exist: whoever asks gets a plain no.

SET LOCAL ROLE dripd_owner;

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
    LEFT JOIN dripd.contact AS k ON k.id = asked.id AND k.erased_at IS NULL
    LEFT JOIN LATERAL (
        SELECT a.campaign_key, a.next_send_at
        FROM dripd.contact_active AS a
        WHERE a.account_id = k.account_id AND a.contact_id = k.id
        ORDER BY a.next_send_at
        LIMIT 1
    ) AS busy ON true
$$;
