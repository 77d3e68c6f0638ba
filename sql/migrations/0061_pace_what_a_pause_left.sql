-- phase: pre
-- locks: dripd.standstill, dripd.account, dripd.campaign and dripd.sender for an instant
-- takes: instant
-- When an account, a campaign or a sender was paused, or a provider failed: what came due in that time goes out paced.

SET LOCAL ROLE dripd_owner;

ALTER TABLE dripd.standstill
    ADD COLUMN account_id int4 NOT NULL DEFAULT 0,   -- 0: all of them
    ADD COLUMN campaign_id int4 NOT NULL DEFAULT 0,
    ADD COLUMN sender_id int4 NOT NULL DEFAULT 0,
    ADD COLUMN provider text NOT NULL DEFAULT '',
    DROP CONSTRAINT standstill_pkey,
    ADD PRIMARY KEY (account_id, campaign_id, sender_id, provider, from_at);

-- what is paused stands still until `infinity`; less than the least [engine] catchup_after is forgotten
CREATE FUNCTION dripd.note_standstill() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
DECLARE
    account int4 := CASE tg_table_name WHEN 'account' THEN new.id END;
    campaign int4 := CASE tg_table_name WHEN 'campaign' THEN new.id ELSE 0 END;
    sender int4 := CASE tg_table_name WHEN 'sender' THEN new.id ELSE 0 END;
    stood boolean;
    stands boolean;
BEGIN
    IF tg_table_name = 'account' THEN
        stood := old.status <> 'active' OR NOT old.subscription_active;
        stands := new.status <> 'active' OR NOT new.subscription_active;
    ELSE
        account := new.account_id;
        stood := old.status IN ('paused', 'inactive', 'archived');
        stands := new.status IN ('paused', 'inactive', 'archived');
    END IF;
    IF stands AND NOT stood THEN
        INSERT INTO dripd.standstill (from_at, until_at, account_id, campaign_id, sender_id)
        VALUES (dripd.now(), 'infinity', account, campaign, sender)
        ON CONFLICT DO NOTHING;
    ELSIF stood AND NOT stands THEN
        DELETE FROM dripd.standstill AS s
        WHERE s.account_id = account AND s.campaign_id = campaign AND s.sender_id = sender AND s.provider = ''
            AND s.until_at = 'infinity' AND s.from_at > dripd.now() - interval '1 minute';
        UPDATE dripd.standstill AS s SET until_at = dripd.now()
        WHERE s.account_id = account AND s.campaign_id = campaign AND s.sender_id = sender AND s.provider = ''
            AND s.until_at = 'infinity';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_standstill AFTER UPDATE OF status, subscription_active ON dripd.account
    FOR EACH ROW EXECUTE FUNCTION dripd.note_standstill();
CREATE TRIGGER note_standstill AFTER UPDATE OF status ON dripd.campaign
    FOR EACH ROW EXECUTE FUNCTION dripd.note_standstill();
CREATE TRIGGER note_standstill AFTER UPDATE OF status ON dripd.sender
    FOR EACH ROW EXECUTE FUNCTION dripd.note_standstill();

INSERT INTO dripd.standstill (from_at, until_at, account_id, campaign_id, sender_id)
SELECT dripd.now(), 'infinity'::timestamptz, id, 0, 0 FROM dripd.account WHERE status <> 'active' OR NOT subscription_active
UNION ALL
SELECT dripd.now(), 'infinity', account_id, id, 0 FROM dripd.campaign WHERE status IN ('paused', 'inactive')
UNION ALL
SELECT dripd.now(), 'infinity', account_id, 0, id FROM dripd.sender WHERE status = 'paused';
