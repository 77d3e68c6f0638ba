-- name: read_doubts :many
-- Messages of runs that may have left: since when, and what is kept of them.
--   $1 account  int4
--   $2 runs     int8[]
SELECT l.enrollment_id, l.seq, l.reason, coalesce(f.provider, 'a sender that is gone') AS provider,
    coalesce(l.sent_at, l.leased_at) AS since, k.until, d.due_at AS due, d.enrollment_id IS NOT NULL AS waits,
    k.message IS NOT NULL AS repeats
FROM dripd.step_log AS l
LEFT JOIN dripd.sender AS f ON f.account_id = l.account_id AND f.id = l.sender_id
LEFT JOIN dripd.kept_message AS k
    ON k.account_id = l.account_id AND k.enrollment_id = l.enrollment_id AND k.seq = l.seq
LEFT JOIN dripd.due_step AS d
    ON d.account_id = l.account_id AND d.enrollment_id = l.enrollment_id AND d.seq = l.seq AND d.attempt >= 0
WHERE l.account_id = $1::int4 AND l.enrollment_id = ANY ($2::int8[]) AND l.state = 3 AND l.channel > 0;
