-- name: heads :many
-- The first unleased step of every lane of these accounts.
--   $1 accounts  int[]
-- hot: one probe of due_step's primary key a lane
SELECT l.account_id, l.lane, d.due_at, d.enrollment_id
FROM dripd.lane AS l
CROSS JOIN LATERAL (
    SELECT s.due_at, s.enrollment_id
    FROM dripd.due_step AS s
    WHERE s.account_id = l.account_id AND s.lane = l.lane AND s.claim_id IS NULL
    ORDER BY s.due_at, s.enrollment_id
    LIMIT 1
) AS d
WHERE l.account_id = ANY ($1::int4[]);

-- name: load :many
-- Keys that come up within the horizon, lane by lane, in due order.
--   $1 accounts int[]  $2 lanes int2[]  $3 after due timestamptz[]  $4 after enrollment bigint[]  $5 most int[]
--   $6 horizon timestamptz
-- hot: one range of due_step's primary key a lane
SELECT w.a AS account_id, w.l AS lane, x.due_at, x.enrollment_id, x.cv_id
FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::int8[], $5::int4[]) WITH ORDINALITY AS w (a, l, due, e, n, o)
CROSS JOIN LATERAL (
    SELECT d.due_at, d.enrollment_id, d.cv_id
    FROM dripd.due_step AS d
    WHERE d.account_id = w.a AND d.lane = w.l
        AND (d.due_at, d.enrollment_id) > (w.due, w.e)
        AND d.due_at <= $6::timestamptz
        AND d.claim_id IS NULL
    ORDER BY d.due_at, d.enrollment_id
    LIMIT w.n
) AS x;

-- name: next_heads :many
-- The first unleased step of lanes after what has been loaded of them.
--   $1 accounts int[]  $2 lanes int2[]  $3 after due timestamptz[]
SELECT w.a AS account_id, w.l AS lane, x.due_at, x.enrollment_id
FROM unnest($1::int4[], $2::int2[], $3::timestamptz[]) AS w (a, l, due)
CROSS JOIN LATERAL (
    SELECT d.due_at, d.enrollment_id FROM dripd.due_step AS d
    WHERE d.account_id = w.a AND d.lane = w.l AND d.due_at > w.due AND d.claim_id IS NULL
    ORDER BY d.due_at, d.enrollment_id
    LIMIT 1
) AS x;

-- name: move_lanes :many
-- Steps that nobody has leased stand in another lane from now on, as due as before.
--   $1 accounts int[]  $2 lanes int2[]  $3 due timestamptz[]  $4 enrollments bigint[]  $5 new lanes int2[]
-- locks: due_step rows, by full key, skip locked
WITH free AS (
    SELECT d.t, k.n
    FROM unnest($1::int4[], $2::int2[], $3::timestamptz[], $4::int8[], $5::int2[]) AS k (a, l, due, e, n)
    CROSS JOIN LATERAL (
        SELECT s.ctid AS t FROM dripd.due_step AS s
        WHERE s.account_id = k.a AND s.lane = k.l AND s.due_at = k.due AND s.enrollment_id = k.e
            AND s.claim_id IS NULL
        FOR UPDATE SKIP LOCKED
    ) AS d
)
UPDATE dripd.due_step AS d SET lane = free.n
FROM free
WHERE d.ctid = free.t
RETURNING d.account_id, d.lane, d.due_at, d.enrollment_id, d.cv_id;
