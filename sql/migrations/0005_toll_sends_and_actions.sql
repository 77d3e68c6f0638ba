-- phase: pre
-- locks: account and plan, for an instant each
-- takes: instant
-- What a step must be granted before it is performed: money of the balance, one of a quota of actions.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.meter_hold (  -- actions of a quota that steps in flight hold; one whose claim is gone counts no more
    account_id int4 NOT NULL,
    enrollment_id int8 NOT NULL,
    claim_id int8 NOT NULL,
    period text NOT NULL,
    PRIMARY KEY (account_id, enrollment_id)
);

CREATE OR REPLACE FUNCTION dripd.fill_purses() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    INSERT INTO dripd.purse AS p (account_id)
    SELECT DISTINCT account_id FROM fresh ORDER BY account_id
    ON CONFLICT DO NOTHING;
    UPDATE dripd.purse AS p
    SET balance = p.balance + s.amount
    FROM (
        SELECT account_id, sum(CASE kind WHEN 'charge' THEN -amount ELSE amount END) AS amount
        FROM fresh
        GROUP BY account_id
    ) AS s
    WHERE p.account_id = s.account_id;
    WITH opened AS (  -- what waits for money is looked at again
        DELETE FROM dripd.park
        WHERE reason = 'balance' AND account_id IN (SELECT account_id FROM fresh WHERE kind <> 'charge')
        RETURNING account_id
    )
    INSERT INTO dripd.nudge (account_id) SELECT DISTINCT account_id FROM opened;
    RETURN NULL;
END
$$;

CREATE FUNCTION dripd.open_quotas() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
BEGIN
    IF tg_table_name = 'account' THEN
        DELETE FROM dripd.park WHERE reason = 'quota' AND account_id = new.id;
    ELSE
        DELETE FROM dripd.park AS p
        USING dripd.account AS a
        WHERE p.reason = 'quota' AND p.account_id = a.id AND a.plan = new.key;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER open_quotas AFTER UPDATE OF plan ON dripd.account
    FOR EACH ROW WHEN (old.plan IS DISTINCT FROM new.plan) EXECUTE FUNCTION dripd.open_quotas();
CREATE TRIGGER open_quotas AFTER UPDATE OF action_quota ON dripd.plan
    FOR EACH ROW WHEN (old.action_quota IS DISTINCT FROM new.action_quota) EXECUTE FUNCTION dripd.open_quotas();

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.meter_hold TO dripd_daemon;
