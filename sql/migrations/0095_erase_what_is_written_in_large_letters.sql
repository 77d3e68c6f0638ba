-- phase: pre
-- locks: nothing
-- takes: instant
-- An erasure finds an address also where it stands in large letters that are not in ASCII, whatever the locale.

SET LOCAL ROLE dripd_owner;

CREATE FUNCTION dripd.small_letters(what text) RETURNS text  -- the same in every locale
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN octet_length(what) = char_length(what) THEN lower(what COLLATE "C") ELSE translate(
        lower(what COLLATE "C"),
        'ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮĲĴĶĹĻĽĿŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫЀЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ',
        'àáâãäåæçèéêëìíîïðñòóôõöøùúûüýþāăąćĉċčďđēĕėęěĝğġģĥħĩīĭįĳĵķĺļľŀłńņňŋōŏőœŕŗřśŝşšţťŧũūŭůűųŵŷÿźżžάέήίόύώαβγδεζηθικλμνξοπρστυφχψωϊϋѐёђѓєѕіїјљњћќѝўџабвгдежзийклмнопрстуфхцчшщъыьэюя') END
$$;

CREATE OR REPLACE FUNCTION dripd.wide_form(address text) RETURNS text  -- of an address that is not in ASCII
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT dripd.small_letters(CASE WHEN strpos(address, '@') > 0 THEN btrim(address, E' \t\n\r\f\v\u00a0')
        ELSE translate(address, E' ()./-\t\n\r\f\v\u00a0\u2007\u2009\u200b\u200c\u200d\u200e\u200f\u2010\u2011\u2012\u2013\u2014\u2015\u202a\u202b\u202c\u202d\u202e\u202f\u2060\u2066\u2067\u2068\u2069\u2212\ufeff', '')
        END)
$$;

CREATE OR REPLACE FUNCTION dripd.names(what text, known text[]) RETURNS boolean  -- does it hold one of these addresses?
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT what IS NOT NULL AND EXISTS (
        SELECT FROM dripd.small_letters(what) AS w, unnest(known) AS k WHERE strpos(w, k) > 0)
$$;
