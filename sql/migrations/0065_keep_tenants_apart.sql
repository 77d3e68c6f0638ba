-- phase: pre
-- locks: dripd.field for an instant
-- takes: instant
-- A writer of one account suppressed addresses everywhere, and made fields of others' accounts.

SET LOCAL ROLE dripd_owner;

CREATE OR REPLACE FUNCTION dripd.may_write(account int4, key text DEFAULT NULL) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$
    SELECT NOT EXISTS (
        SELECT FROM dripd.account AS a
        WHERE (a.id = may_write.account OR a.key = may_write.key OR may_write.account = 0)  -- 0: all of them
            AND a.writer IS NOT NULL
            AND NOT pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), a.writer, 'member')
    )
$$;

ALTER TABLE dripd.field ENABLE ROW LEVEL SECURITY;
CREATE POLICY daemon ON dripd.field TO dripd_daemon USING (true) WITH CHECK (true);
CREATE POLICY read ON dripd.field FOR SELECT TO dripd_reader, dripd_writer USING (true);
CREATE POLICY add ON dripd.field FOR INSERT TO dripd_writer WITH CHECK (dripd.may_write(account_id));
