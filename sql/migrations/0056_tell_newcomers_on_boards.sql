-- phase: pre
-- locks: dripd.campaign_trigger for an instant
-- takes: instant
-- A trigger on new contacts of a board fires when they are put on it, which may be a transaction later.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.last_contact_id() RETURNS int8
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = dripd, pg_temp
AS $$ SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM dripd.contact_id_seq $$;

ALTER TABLE dripd.campaign_trigger ADD COLUMN after_contact_id int8 NOT NULL DEFAULT dripd.last_contact_id();
