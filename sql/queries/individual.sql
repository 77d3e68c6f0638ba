-- name: start_individual :one
-- An individual message: the row is committed before a byte leaves. Never counted, never windowed.
--   $1 account int  $2 contact bigint  $3 incarnation bigint  $4 sender int  $5 channel text  $6 requested_by text
--   $7 subject text  $8 to text, NULL: the contact; else somebody of the house, whatever is suppressed
--   $9 the call that it answers bigint, else NULL  $10 the attempt at it int
-- returns the address, whether it is suppressed, and whether another has taken the call over: then nothing was
-- written in either case
-- locks: the call's row, which whoever takes it over updates
WITH call AS MATERIALIZED (
    SELECT 1 FROM dripd.outbox AS o
    WHERE o.account_id = $1::int4 AND o.id = $9::int8 AND o.state = 'open' AND o.attempt = $10::int4
    FOR NO KEY UPDATE
), person AS (
    SELECT c.account_id, c.id,
        coalesce($8::text, CASE $5::text WHEN 'sms' THEN c.phone ELSE c.email END) AS address,
        $9::int8 IS NOT NULL AND NOT EXISTS (SELECT FROM call) AS fenced
    FROM dripd.contact AS c
    WHERE c.account_id = $1::int4 AND c.id = $2::int8
), judged AS (
    SELECT p.*, $8::text IS NULL AND EXISTS (
        SELECT FROM dripd.suppression AS s
        WHERE s.address_h = dripd.address_hash(p.address) AND s.account_id IN (p.account_id, 0)
            AND s.channel = $5::text AND (s.expires_at IS NULL OR s.expires_at > (SELECT dripd.now()))) AS suppressed
    FROM person AS p
), made AS (
    INSERT INTO dripd.individual_send (account_id, contact_id, incarnation, sender_id, channel, to_address, subject,
        requested_by, notice, call_id)
    SELECT account_id, id, $3::int8, $4::int4, $5::text, address, $7::text, $6::text, $8::text IS NOT NULL, $9::int8
    FROM judged
    WHERE address IS NOT NULL AND NOT suppressed AND NOT fenced
    RETURNING id
), told AS (
    UPDATE dripd.account_day AS ad SET individual = ad.individual + 1
    FROM made
    WHERE ad.account_id = $1::int4 AND ad.starts_at <= (SELECT dripd.now()) AND ad.ends_at > (SELECT dripd.now())
)
SELECT (SELECT id FROM made) AS id, address, suppressed, fenced FROM judged;

-- name: last_of_call :one
-- What became of the message that the last attempt at a call has sent, if one has.
--   $1 account int  $2 call bigint
SELECT state FROM dripd.individual_send
WHERE account_id = $1::int4 AND call_id = $2::int8
ORDER BY id DESC
LIMIT 1;

-- name: end_individual :exec
-- What came of it, unless evidence has said so meanwhile.
--   $1 account int  $2 id bigint  $3 state text  $4 provider id text  $5 reason text  $6 segments int2
UPDATE dripd.individual_send
SET state = $3::text, provider_id = $4::text, reason = $5::text, segments = $6::int2,
    sent_at = CASE WHEN $3::text <> 'failed' THEN leased_at END,
    accepted_at = CASE $3::text WHEN 'accepted' THEN (SELECT dripd.now()) END
WHERE account_id = $1::int4 AND id = $2::int8 AND state IN ('leased', 'unknown');
