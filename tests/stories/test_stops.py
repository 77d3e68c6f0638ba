"""A story on the real clock: stops that race with the sending."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.stories.test_processes import ONE_MAIL, herd

CROWD, CHUNK = 600, 25


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.feature("F2")
def test_a_stop_in_the_second_of_the_sending_wins_or_comes_too_late(pg_dsn: str) -> None:
    with TemporaryDirectory(prefix="dripd-") as state, herd(pg_dsn, Path(state)) as world:
        world.until((Path(state) / "dripd.sock").exists)
        made = world.one("INSERT INTO dripd.account (key) VALUES ('acme') RETURNING id")
        world.sql(
            "INSERT INTO dripd.sender (account_id, address) VALUES ($1, 'hello@acme.test')",
            made,
        )
        documents = [{"filename": "f", "text": ONE_MAIL.format(account="acme")}]
        world.until(lambda: len(world.alive()) == 3)
        world.call("campaign.apply", documents=documents, account="acme")
        world.call("campaign.activate", key="welcome", account="acme", yes=True)
        world.sql(
            "WITH made AS (INSERT INTO dripd.contact (account_id, external_id, email) "
            "SELECT $1, 'c' || n, 'c' || n || '@x.test' FROM generate_series(1, $2) AS n "
            "RETURNING account_id, id) "
            "INSERT INTO dripd.enroll_request (account_id, campaign_key, contact_id, start_at) "
            "SELECT account_id, 'welcome', id, clock_timestamp() + interval '4 s' FROM made",
            *(made, CROWD),
        )
        live = "SELECT count(*) FROM dripd.run WHERE status = 1"
        world.until(lambda: world.one(live) == CROWD)
        due = world.one("SELECT extract(epoch FROM min(due_at))::float8 FROM dripd.due_step")
        time.sleep(max(due - time.time() - 0.5, 0))
        acknowledged = {}
        runs = [row["id"] for row in world.sql("SELECT id FROM dripd.run ORDER BY id")]
        for at in range(0, CROWD, CHUNK):
            chunk = runs[at : at + CHUNK]
            world.call("enroll.stop", enrollment=chunk, account="acme", yes=True)
            acknowledged |= dict.fromkeys(chunk, world.one("SELECT clock_timestamp()"))
        world.until(lambda: world.one("SELECT count(*) FROM dripd.due_step") == 0)

        sent = world.sql("SELECT enrollment_id, leased_at, state FROM dripd.delivery")
        assert all(row["leased_at"] <= acknowledged[row["enrollment_id"]] for row in sent)
        assert len({row["enrollment_id"] for row in sent}) == len(sent)
        assert world.one("SELECT count(*) FROM dripd.sink_message") == len(
            [row for row in sent if row["state"] == "accepted"]
        )
        ended = dict(
            map(tuple, world.sql("SELECT end_reason, count(*) FROM dripd.run GROUP BY 1"))
        )
        assert sum(ended.values()) == CROWD
        assert ended.keys() <= {"stopped", "completed"}
        assert ended["stopped"] > 0
