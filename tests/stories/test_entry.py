"""Who may begin a run, how often, and what is refused at the door: through SQL and the socket."""

from __future__ import annotations

import json

import pytest

from tests.stories.crowd import contacts, together
from tests.stories.world import World

EXCLUSIVE = """
campaign: {key}
account: acme
name: {key}
sender: hello@acme.test
policy: {{exclusivity: {{scope: account, on_busy: reject}}, reentry: after_end}}
steps:
  - {{key: hello, do: email, subject: Hi, text: Hello}}
  - {{key: nudge, do: email, delay: 3d, subject: Again, text: Well}}
"""

ONCE = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
policy: {reentry: once}
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
  - {key: nudge, do: email, delay: 3d, subject: Again, text: Well}
"""


def decided(world: World, *, beyond: int = 0) -> list[tuple[str, str, str | None]]:
    """(contact, status, reason) of the requests with an id above *beyond*, in their order."""
    rows = world.sql(
        """SELECT external_id, status, reject_reason FROM dripd.enroll_request
           WHERE id > $1 ORDER BY id""",
        beyond,
    )
    return [(row[0], row[1], row[2]) for row in rows]


def last_request(world: World) -> int:
    return int(world.sql("SELECT coalesce(max(id), 0) FROM dripd.enroll_request")[0][0])


def live_runs(world: World) -> int:
    rows = world.sql(
        "SELECT count(*) FROM dripd.enrollment WHERE status IN ('waiting', 'held', 'executing')"
    )
    return int(rows[0][0])


def steps_of(world: World, run_no: int) -> list[tuple[int, str, str]]:
    rows = world.sql(
        """SELECT s.seq, s.step_key, s.outcome FROM dripd.step_run AS s
           JOIN dripd.enrollment AS e ON e.id = s.enrollment_id
           WHERE e.run_no = $1 ORDER BY s.seq""",
        run_no,
    )
    return [(row[0], row[1], row[2]) for row in rows]


@pytest.mark.feature("C42")
def test_a_contact_is_in_one_exclusive_campaign_at_a_time(world: World) -> None:
    others = [f"b{n:02}" for n in range(10)]
    world.contact("c1")
    for key in ("a", *others):
        world.apply(EXCLUSIVE.format(key=key))
    world.enroll("a", "c1")
    world.tick()
    mark = last_request(world)
    together(
        world,
        [
            (
                "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id) "
                "VALUES ('acme', $1, 'c1')",
                (others[n % 10],),
            )
            for n in range(50)
        ],
    )
    world.tick()
    assert decided(world, beyond=mark) == [("c1", "rejected", "already_in:a")] * 50
    assert live_runs(world) == 1
    world.at("2026-01-09T09:00:00Z")
    assert live_runs(world) == 0
    mark = last_request(world)
    world.enroll("b03", "c1")
    world.tick()
    assert decided(world, beyond=mark) == [("c1", "accepted", None)]


@pytest.mark.feature("Q1", "Q2")
def test_a_contact_runs_once_ever_and_again_only_after_a_reset(world: World) -> None:
    world.contact("c1")
    world.contact("c2")
    world.apply(ONCE)
    world.enroll("welcome", "c1", "c2")
    world.tick()
    world.call("enroll.stop", account="acme", campaign=["welcome"], contact=["c2"])
    world.at("2026-01-09T09:00:00Z")
    ends = world.sql("SELECT end_reason FROM dripd.enrollment ORDER BY contact_id")
    assert [row[0] for row in ends] == ["completed", "stopped"]
    mark = last_request(world)
    world.enroll("welcome", "c1", "c2")
    world.tick()
    assert decided(world, beyond=mark) == [
        ("c1", "rejected", "already_ran"),
        ("c2", "rejected", "already_ran"),
    ]

    told = world.call("contact.timeline", account="acme", contact="c1")["items"]
    [refused] = [line for line in told if line["kind"] == "rejected"]
    assert ("welcome", "already_ran") == (refused["campaign_key"], refused["detail"]["reason"])

    world.call("enroll.reset", account="acme", campaign=["welcome"], contact=["c1"])
    mark = last_request(world)
    world.enroll("welcome", "c1", "c2")
    world.at("2026-01-20T09:00:00Z")
    assert decided(world, beyond=mark) == [
        ("c1", "accepted", None),
        ("c2", "rejected", "already_ran"),
    ]
    runs = world.sql(
        """SELECT run_no, status, end_reason, reset_at IS NOT NULL FROM dripd.enrollment
           JOIN dripd.contact AS k ON k.id = contact_id WHERE k.external_id = 'c1'
           ORDER BY run_no"""
    )
    assert [tuple(row) for row in runs] == [
        (1, "completed", "completed", True),
        (2, "completed", "completed", False),
    ]
    assert steps_of(world, 2) == [(1, "hello", "done"), (2, "nudge", "done")]
    kept = world.sql(
        """SELECT s.step_key FROM dripd.step_run AS s
           JOIN dripd.enrollment AS e ON e.id = s.enrollment_id
           JOIN dripd.contact AS k ON k.id = e.contact_id
           WHERE k.external_id = 'c1' AND e.run_no = 1 ORDER BY s.seq"""
    )
    assert [row[0] for row in kept] == ["hello", "nudge"]


@pytest.mark.feature("M39")
def test_a_batch_enrolls_those_it_can_and_gives_reasons_for_the_others(world: World) -> None:
    contacts(world, 497)
    world.call(
        "campaign.apply", documents=[{"filename": "a.yaml", "text": ONCE}], account="acme"
    )
    world.enroll("welcome", "c1")
    world.tick()
    assert decided(world) == [("c1", "rejected", "not_active")]
    world.call("campaign.activate", key="welcome", account="acme")

    mark = last_request(world)
    good = [f"c{n}" for n in range(1, 498)]
    world.enroll("welcome", *good[:200], "ghost-1", *good[200:400], "ghost-2", *good[400:])
    world.enroll("nowhere", "c1")
    world.tick()
    found = decided(world, beyond=mark)
    assert sum(status == "accepted" for _, status, _ in found) == 497
    assert [(who, why) for who, status, why in found if status == "rejected"] == [
        ("ghost-1", "unknown_contact"),
        ("ghost-2", "unknown_contact"),
        ("c1", "unknown_campaign"),
    ]
    assert len(world.sent()) == 497


@pytest.mark.feature("M39")
def test_the_socket_enrolls_a_batch_and_says_who_was_refused(world: World) -> None:
    contacts(world, 5)
    world.apply(ONCE)
    answer = world.call(
        "enroll.add", campaign="welcome", contacts=["c1", "c2", "ghost", "c3"], account="acme"
    )
    assert answer["changed"] == 3
    assert [item["ok"] for item in answer["items"]] == [True, True, False, True]
    assert answer["items"][2]["reject_reason"] == "unknown_contact"


def test_bad_rows_are_refused_one_by_one_with_words_that_do_not_change(world: World) -> None:
    contacts(world, 3)
    world.apply(ONCE)
    draft = ONCE.replace("campaign: welcome", "campaign: draft")
    world.call(
        "campaign.apply", documents=[{"filename": "d.yaml", "text": draft}], account="acme"
    )
    world.call("suppress.add", addresses=["c2@acme.x.test"], account="acme")
    world.sql(
        """INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, vars, start_at)
           SELECT key, campaign, contact, vars::jsonb, at::timestamptz FROM json_to_recordset($1::json)
               AS x (n int, key text, campaign text, contact text, vars text, at text) ORDER BY n""",
        json.dumps(
            [
                {"n": 1, "key": "acme", "campaign": "welcome", "contact": "c1"},
                {"n": 2, "key": "nobody", "campaign": "welcome", "contact": "c1"},
                {"n": 3, "key": "acme", "campaign": "nowhere", "contact": "c1"},
                {"n": 4, "key": "acme", "campaign": "welcome", "contact": "ghost"},
                {"n": 5, "key": "acme", "campaign": "draft", "contact": "c1"},
                {"n": 6, "key": "acme", "campaign": "welcome", "contact": "c2"},
                {"n": 7, "campaign": None, "contact": None},
                {"n": 8, "key": "acme", "campaign": "welcome", "contact": "c3", "vars": "[1]"},
                {
                    "n": 9,
                    "key": "acme",
                    "campaign": "welcome",
                    "contact": "c3",
                    "at": "infinity",
                },
                {"n": 10, "key": "acme", "campaign": "welcome", "contact": "c3"},
            ]
        ),
    )
    world.tick()
    assert [(status, why) for _, status, why in decided(world)] == [
        ("accepted", None),
        ("rejected", "unknown_account"),
        ("rejected", "unknown_campaign"),
        ("rejected", "unknown_contact"),
        ("rejected", "not_active"),
        ("rejected", "suppressed"),
        ("rejected", "unknown_account"),
        ("rejected", "bad_request:vars"),
        ("rejected", "bad_request:start_at"),
        ("accepted", None),
    ]
    assert sorted(row["recipient"] for row in world.sent()) == [
        "c1@acme.x.test",
        "c3@acme.x.test",
    ]


@pytest.mark.feature("X4")
def test_a_campaign_that_allows_more_runs_by_now_lets_those_in_who_had_one(
    world: World,
) -> None:
    """Published as `once`, then as `after_end`, then as `once` again."""

    def told(mode: str) -> list[str]:
        text = AGAIN.format(mode=mode)
        world.apply(text, activate=False)
        world.call("campaign.publish", key="again", account="acme", yes=True)
        world.enroll("again", "c1")
        world.advance("2h")
        return world.column("SELECT coalesce(reject_reason, status) FROM dripd.enroll_request "
                            "ORDER BY id DESC LIMIT 1")  # fmt: skip

    world.contact("c1")
    world.apply(AGAIN.format(mode="once"))
    world.enroll("again", "c1")
    world.advance("2h")
    assert told("once, max_runs: 1") == ["already_ran"]
    assert [told("after_end"), told("after_end, min_gap: 1h")] == [["accepted"]] * 2
    assert told("once") == ["already_ran"]
    assert [row["subject"] for row in world.sent()] == ["Hi"] * 3


AGAIN = """
campaign: again
account: acme
name: Again
sender: hello@acme.test
policy: {{reentry: {{mode: {mode}}}}}
steps:
  - {{key: hi, do: email, delay: 1h, subject: Hi, text: Hi}}
"""
