"""Stories of follow-ups, requests and sales: whose they are, and when there is time."""

from __future__ import annotations

import pytest

from dripd.errors import DefinitionError
from tests.stories.test_tasks import campaign, notices, payload, play, tasks
from tests.stories.world import World

TYPES = """
request_types:
  support:
    statuses: [new, open, closed]
    priorities: [low, high]
    defaults: {category: help, priority: high}
sale_types: {licence: {stages: [lead, offer, won], defaults: {amount: 100}}}
categories: {help: [ann, bob, cy], vip: {ann: 2, bob: 1}}
"""


@pytest.mark.feature("C16")
@pytest.mark.feature("F26")
@pytest.mark.feature("F27")
def test_a_follow_up_is_for_whom_the_step_names(world: World) -> None:
    world.contact("c1", owner="olga", service_owner="sam")
    world.contact("c2")
    play(
        world,
        campaign(
            "after",
            "{key: mine, do: follow_up, title: Mine}",
            "{key: own, do: follow_up, title: Own, assignee: contact.owner, due: 2d}",
            "{key: service, do: follow_up, title: Service, assignee: contact.service_owner}",
            "{key: named, do: follow_up, title: Named, assignee: zoe}",
        ),
        "c1",
    )
    assert [(t["kind"], t["assignee"]) for t in tasks(world)] == [
        ("follow_up", "olga"),
        ("follow_up", "olga"),
        ("follow_up", "sam"),
        ("follow_up", "zoe"),
    ]
    assert str(tasks(world)[1]["due_at"]) == "2026-01-07 09:00:00+00:00"
    assert world.one("SELECT count(*) FROM dripd.delivery") == 0
    assert world.one("SELECT coalesce(sum(n), 0)::int FROM dripd.cap_usage") == 0
    world.sql(
        "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, requested_by) "
        "VALUES ('acme', 'after', 'c2', 'eva')"
    )
    world.tick()
    assert [t["assignee"] for t in tasks(world)[4:]] == ["eva", "boss", "boss", "zoe"]
    missing = world.column("SELECT kind FROM dripd.journal WHERE kind = 'assignee_missing'")
    assert len(missing) == 2


@pytest.mark.feature("F25")
def test_a_follow_up_takes_the_first_free_time_in_a_diary(world: World) -> None:
    world.at("2026-01-09T08:00:00Z")
    world.sql(
        "INSERT INTO dripd.diary (account_id, person, busy) SELECT id, 'ann', "
        "tstzrange('2026-01-09T09:00Z', '2026-01-09T10:00Z') FROM dripd.account"
    )
    play(
        world,
        campaign(
            "meet",
            "{key: m, do: follow_up, title: Meet, assignee: ann, slot: first_available, "
            "duration: 3h}",
        ),
        *(f"c{n}" for n in range(4)),
    )
    taken = sorted(payload(t)["slot"]["from"] for t in tasks(world))
    assert taken == [
        "2026-01-09T10:00:00Z",
        "2026-01-09T13:00:00Z",
        "2026-01-12T09:00:00Z",
        "2026-01-12T12:00:00Z",
    ]
    assert {payload(t)["slot"]["from"][:19] for t in tasks(world)} == {
        t["due_at"].isoformat()[:19] for t in tasks(world)
    }
    assert notices(world) == ["ann"] * 4
    assert world.one("SELECT count(*) FROM dripd.diary") == 5
    with pytest.raises(Exception, match="never_overlap"):
        world.sql(
            "INSERT INTO dripd.diary (account_id, person, busy) SELECT id, 'ann', "
            "tstzrange('2026-01-09T09:30Z', '2026-01-09T09:40Z') FROM dripd.account"
        )
    first, second = tasks(world)[:2]
    world.sql(f"UPDATE dripd.task SET assignee = 'zoe' WHERE id = {first['id']}")
    world.sql(f"UPDATE dripd.task SET state = 'cancelled' WHERE id = {first['id']}")
    assert world.one("SELECT count(*) FROM dripd.diary") == 4
    world.sql(f"SELECT dripd.erase_contact({second['contact_id']})")
    assert world.one("SELECT count(*) FROM dripd.diary") == 3


@pytest.mark.feature("F24")
@pytest.mark.feature("F28")
@pytest.mark.feature("F29")
@pytest.mark.feature("F30")
@pytest.mark.feature("F31")
@pytest.mark.feature("F32")
def test_requests_and_sales_have_what_their_type_gives(world: World) -> None:
    play(
        world,
        campaign(
            "deal",
            "{key: ask, do: request, type: support, title: 'For {First Name}', "
            "text: 'Hello {First Name}', owner: auto}",
            "{key: open, do: request, type: support, status: open, priority: low, owner: none}",
            "{key: vip, do: request, type: support, category: vip, owner: auto}",
            "{key: sell, do: sale, type: licence, title: Deal, owner: zoe, fields: {size: 7}}",
            "{key: see, do: follow_up, title: See}",
            more=TYPES + "policy: {reentry: after_end}",
        ),
        *(f"c{n}" for n in range(9)),
    )
    ask = world.sql("SELECT * FROM dripd.task WHERE step_key = 'ask'")
    assert sorted(t["assignee"] for t in ask) == ["ann"] * 3 + ["bob"] * 3 + ["cy"] * 3
    assert {(t["kind"], t["category"], t["title"]) for t in ask} == {
        ("request", "help", "For Ann")
    }
    assert payload(ask[0]) == {
        "text": "Hello Ann",
        "type": "support",
        "status": "new",
        "priority": "high",
    }
    vip = world.column("SELECT assignee FROM dripd.task WHERE step_key = 'vip' ORDER BY 1")
    assert vip == ["ann"] * 6 + ["bob"] * 3
    (loose, *_) = world.sql("SELECT * FROM dripd.task WHERE step_key = 'open'")
    assert (loose["assignee"], loose["category"]) == (None, "help")
    for name, sees in (("cy", True), ("zoe", False)):
        mine = world.call("task.list", assignee=name, account="acme", limit=100)["items"]
        assert (loose["id"] in {task["id"] for task in mine}) is sees
    assert payload(loose) == {"type": "support", "status": "open", "priority": "low"}
    (sale, *_) = world.sql("SELECT * FROM dripd.task WHERE kind = 'sale'")
    assert (sale["assignee"], sale["title"]) == ("zoe", "Deal")
    assert payload(sale) == {
        "type": "licence",
        "stage": "lead",
        "fields": {"amount": 100, "size": 7},
    }
    each = world.column(
        "SELECT count(*)::int FROM dripd.task GROUP BY step_key ORDER BY step_key"
    )
    assert each == [9] * 5
    world.enroll("deal", "c0")
    world.tick()
    assert world.one("SELECT count(*) FROM dripd.task WHERE kind = 'sale'") == 10


@pytest.mark.feature("F28")
@pytest.mark.feature("F33")
def test_words_that_a_type_does_not_have_are_refused(world: World) -> None:
    with pytest.raises(DefinitionError) as caught:
        world.apply(
            campaign(
                "bad",
                "{key: a, do: request, type: support, status: lost}",
                "{key: b, do: sale, type: licence, stage: dead}",
                "{key: c, do: request, owner: auto}",
                more=TYPES,
            )
        )
    assert [(f.code, f.path) for f in caught.value.faults] == [
        ("bad_value", "steps[0].status"),
        ("bad_value", "steps[1].stage"),
        ("bad_value", "steps[2].owner"),
    ]
    text = campaign("lone", "{key: b, do: sale, type: licence, title: T}", more=TYPES)
    found = world.call(
        "campaign.validate", documents=[{"filename": "f", "text": text}], account="acme"
    )["items"][0]
    assert [w["code"] for w in found["warnings"]] == ["sale_without_notice"]
