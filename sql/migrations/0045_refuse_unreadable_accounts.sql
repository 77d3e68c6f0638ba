-- phase: pre
-- locks: dripd.account, for an instant
-- takes: instant
-- A rate or a window that nobody can read would limit nothing: no row brings one in any more.
-- Rows that have one already stay, and what they send waits until it is put right.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.is_window(send_window jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE jsonb_typeof(send_window)
        WHEN 'null' THEN true
        WHEN 'string' THEN send_window = '"off"'
        WHEN 'object' THEN send_window - '{days,from,to,holidays}'::text[] = '{}'
            AND coalesce(send_window ->> 'from', '00:00') ~ '^([01]?[0-9]|2[0-3]):[0-5][0-9]$'
            AND coalesce(send_window ->> 'to', '24:00') ~ '^([01]?[0-9]|2[0-3]):[0-5][0-9]$|^24:00$'
            AND lpad(coalesce(send_window ->> 'from', '00:00'), 5, '0')
                <> lpad(coalesce(send_window ->> 'to', '24:00'), 5, '0')
            AND coalesce(send_window -> 'days', '"mon"') <@ '["mon", "tue", "wed", "thu", "fri", "sat", "sun"]'
            AND coalesce(send_window -> 'days', '"mon"') <> '[]'
            AND NOT jsonb_path_exists(coalesce(send_window -> 'holidays', '[]'), '$[*] ? (@.type() != "string")')
        ELSE send_window IS NULL
    END
$$;

ALTER TABLE dripd.account
    ADD CONSTRAINT a_window_can_be_read CHECK (dripd.is_window(send_window)) NOT VALID,
    ADD CONSTRAINT a_rate_can_be_read CHECK (
        rate ~ '^\s*0*[1-9][0-9]{0,8}\s*/\s*(s|min|h|d)(\s+burst\s+0*[1-9][0-9]{0,8})?\s*$' OR rate = '') NOT VALID;
