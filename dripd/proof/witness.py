"""What became of rows while nobody looked? Triggers of the proof's own write every change down.

They stand in a schema of their own, in the proof's own database; dripd knows nothing of them.
"""

from __future__ import annotations

from typing import Final

SET_UP: Final = """
CREATE SCHEMA proof;
CREATE TABLE proof.change (
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    what text NOT NULL,
    id int8 NOT NULL,
    seq int4,
    was int8,
    is_now int8
);

CREATE FUNCTION proof.note_run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO proof.change (what, id, was, is_now) VALUES ('run', old.id, old.status, new.status);
    RETURN NULL;
END $$;
CREATE TRIGGER proof AFTER UPDATE ON dripd.run FOR EACH ROW
    WHEN (old.status IS DISTINCT FROM new.status) EXECUTE FUNCTION proof.note_run();

CREATE FUNCTION proof.note_log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO proof.change (what, id, seq, was, is_now)
    VALUES ('delivery', old.enrollment_id, old.seq, old.state, CASE WHEN tg_op = 'UPDATE' THEN new.state END);
    RETURN NULL;
END $$;
CREATE TRIGGER proof AFTER UPDATE OR DELETE ON dripd.step_log FOR EACH ROW EXECUTE FUNCTION proof.note_log();

CREATE FUNCTION proof.note_claim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO proof.change (what, id, seq, was, is_now)
    VALUES ('claim', new.enrollment_id, new.seq, old.claim_id, new.claim_id);
    RETURN NULL;
END $$;
CREATE TRIGGER proof AFTER UPDATE ON dripd.due_step FOR EACH ROW
    WHEN (new.claim_id IS NOT NULL AND old.claim_id IS DISTINCT FROM new.claim_id)
    EXECUTE FUNCTION proof.note_claim();
GRANT USAGE ON SCHEMA proof TO dripd_daemon;
GRANT INSERT ON proof.change TO dripd_daemon;
"""

BROKEN: Final = """
SELECT format('run %s went from %s to %s', id, was, is_now) AS found
FROM proof.change WHERE what = 'run' AND was <> 1
UNION ALL
SELECT format('%s-%s went from %s to %s', id, seq, was, is_now)
FROM proof.change WHERE what = 'delivery' AND (was <> coalesce(is_now, -1)) AND (was, is_now) IS DISTINCT FROM (3::int8, 1::int8)
UNION ALL
SELECT format('%s-%s was leased %s times under claim %s', id, min(seq), count(*), is_now)
FROM proof.change WHERE what = 'claim' GROUP BY id, is_now HAVING count(*) > 1
"""
"""Ends are left by nobody, a delivery is settled once, and no step is leased twice under one claim.

In the proof nobody resolves a delivery by hand, and no provider says that one was not delivered.
"""

LIVE: Final = """
SELECT format('run %s has no due step', r.id) AS found
FROM dripd.run AS r
WHERE r.status = 1
    AND NOT EXISTS (SELECT FROM dripd.due_step AS d WHERE d.account_id = r.account_id AND d.enrollment_id = r.id)
UNION ALL
SELECT format('run %s has %s due steps, %s of them in flight and stopped', d.enrollment_id, count(*),
    count(*) FILTER (WHERE d.attempt = -1 AND d.claim_id IS NOT NULL))
FROM dripd.due_step AS d
LEFT JOIN dripd.run AS r ON r.account_id = d.account_id AND r.id = d.enrollment_id
GROUP BY d.enrollment_id, r.status
HAVING count(*) > 1 OR r.status IS DISTINCT FROM 1 AND bool_or(d.attempt >= 0)
LIMIT 20
"""
"""What must be empty at every instant: a live run has exactly one due step, one that has ended at
most the one that was in flight."""
