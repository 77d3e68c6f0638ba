"""A campaign whose provider refuses everybody is paused before it has failed everybody."""

from __future__ import annotations

from tests.stories.crowd import contacts, enroll_all
from tests.stories.world import World

WELCOME = """
campaign: welcome
account: acme
name: Welcome
owner: ann
sender: hello@acme.test
steps:
  - {key: in, do: delay, delay: 1h}
  - {key: hello, do: email, subject: Hi, text: Hello}
"""


def test_a_campaign_that_fails_at_its_start_pauses_itself_and_says_so(world: World) -> None:
    world.sql("INSERT INTO dripd.sink_rule (recipient_like, answer) VALUES ('%', 'permanent')")
    world.apply(WELCOME)
    contacts(world, 80)
    enroll_all(world, "welcome")
    world.advance("2h")

    assert "paused" == world.one("SELECT status FROM dripd.campaign")
    assert world.call("campaign.show", key="welcome")["failing"]
    alerts = world.call("daemon.overview")["alerts"]
    assert ("!!", "campaign fails", "acme/welcome") in {
        (one["level"], one["what"], one["where"]) for one in alerts
    }
    audit = [x for x in world.call("audit.list")["items"] if x["method"] == "campaign.pause"]
    assert ["welcome"] == [row["target"] for row in audit]
    assert "of its first" in audit[0]["reason"]
    (notice,) = world.call("notification.list", recipient="ann")["items"]
    assert ("paused", "welcome") == (notice["kind"], notice["payload"]["campaign"])
    assert 1 == world.one("SELECT count(*) FROM dripd.journal WHERE kind = 'paused'")
    assert 10 < notice["payload"]["failed"] <= 80

    contacts_before = world.one("SELECT count(*) FROM dripd.enrollment")
    world.enroll("welcome", "c1")
    world.tick()
    assert contacts_before == world.one("SELECT count(*) FROM dripd.enrollment")

    world.sql("DELETE FROM dripd.sink_rule")
    world.call("campaign.resume", key="welcome", yes=True)
    assert not world.call("campaign.show", key="welcome")["failing"]
    world.tick()
    assert "active" == world.one("SELECT status FROM dripd.campaign")
    live = (
        "SELECT count(*) FROM dripd.enrollment WHERE status IN ('waiting', 'held', 'executing')"
    )
    assert 0 == world.one(live)


def test_a_bad_event_at_the_door_stops_nothing(world: World) -> None:
    """A number that no bigint holds made the inbox of its account, and its leases, stand still."""
    world.apply(WELCOME)
    for name in ("ann", "bob"):
        world.contact(name)
    world.enroll("welcome", "ann", "bob")
    world.tick()
    world.sql(
        "INSERT INTO dripd.event_in (account_id, contact_id, kind, payload) SELECT account_id, id, "
        """'list_added', '{"list_id": 1e30}' FROM dripd.contact WHERE external_id = 'ann'"""
    )
    world.event("bob", "reply")
    world.advance("2h")

    assert ["ann@x.test"] == [row["recipient"] for row in world.sent()]
    assert "removed" == world.run("bob", "welcome")["status"]
    assert [] == world.sql("SELECT FROM dripd.event_in")
