-- phase: pre
-- locks: dripd.campaign_version, for an instant
-- takes: instant
-- Templates of an account, which its campaigns share; a version keeps those that it uses.

SET LOCAL ROLE dripd_owner;

CREATE TABLE dripd.template (  -- words that several campaigns may share
    account_id int4 NOT NULL REFERENCES dripd.account (id),
    key text NOT NULL,
    subject text NOT NULL DEFAULT '',
    text text NOT NULL DEFAULT '',
    html text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT dripd.now(),
    hash text NOT NULL GENERATED ALWAYS AS (md5(subject || chr(1) || text || chr(1) || html)) STORED,
    PRIMARY KEY (account_id, key),
    CONSTRAINT a_key_is_given CHECK (key <> '')
);

ALTER TABLE dripd.campaign_version ADD COLUMN shared jsonb NOT NULL DEFAULT '{}';

CREATE TRIGGER nudge_new AFTER INSERT ON dripd.template
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION dripd.nudge_accounts();
CREATE TRIGGER nudge_changed AFTER UPDATE ON dripd.template
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION dripd.nudge_accounts();
CREATE FUNCTION dripd.stamp_template() RETURNS trigger
LANGUAGE plpgsql SET search_path = dripd, pg_temp
AS $$
BEGIN
    new.updated_at := dripd.now();
    RETURN new;
END
$$;
CREATE TRIGGER stamp_template BEFORE UPDATE ON dripd.template
    FOR EACH ROW EXECUTE FUNCTION dripd.stamp_template();

GRANT SELECT, INSERT, UPDATE, DELETE ON dripd.template TO dripd_daemon;
GRANT SELECT ON dripd.template TO dripd_reader, dripd_writer;
GRANT INSERT (account_id, key, subject, text, html), UPDATE (subject, text, html) ON dripd.template TO dripd_writer;
ALTER TABLE dripd.template ENABLE ROW LEVEL SECURITY;
CREATE POLICY daemon ON dripd.template TO dripd_daemon USING (true) WITH CHECK (true);
CREATE POLICY read ON dripd.template FOR SELECT TO dripd_reader, dripd_writer USING (true);
CREATE POLICY add ON dripd.template FOR INSERT TO dripd_writer WITH CHECK (dripd.may_write(account_id));
CREATE POLICY change ON dripd.template FOR UPDATE TO dripd_writer USING (dripd.may_write(account_id)) WITH CHECK (dripd.may_write(account_id));
