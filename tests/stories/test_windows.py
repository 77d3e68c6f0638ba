"""When a message may leave: zones, days of the week, hours of the day, on the manual clock."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.stories.crowd import contacts
from tests.stories.world import World

ONE_MAIL = """
campaign: {key}
account: acme
name: {key}
sender: hello@acme.test
timezone: {zone}
window: {window}
steps:
  - {{key: hello, do: email, subject: Hi, text: Hello}}
"""

MAIL_AND_TASK = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
timezone: UTC
window: {from: "09:00", to: "17:00"}
steps:
  - {key: call, do: custom_task, title: Call, assignee: ann}
"""


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def request(world: World, campaign: str, contact: str, start: str) -> None:
    world.sql(
        """INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, start_at)
           VALUES ('acme', $1, $2, $3)""",
        campaign, contact, instant(start),
    )  # fmt: skip


def received(world: World) -> dict[str, str]:
    """recipient -> when the provider got its mail, as `2026-01-05T09:00Z`."""
    return {
        row["recipient"].partition("@")[0]: f"{row['received_at']:%Y-%m-%dT%H:%M:%SZ}"
        for row in world.sent()
    }


AT_HALF_PAST_TWO = """
campaign: early
account: acme
name: Early
sender: hello@acme.test
timezone: Europe/Berlin
steps:
  - {key: hello, do: email, subject: Hi, text: Hello, send_at: "02:30"}
"""


@pytest.mark.feature("C21")
def test_a_time_of_day_that_is_missing_or_comes_twice_is_met_once(world: World) -> None:
    contacts(world, 3)
    world.apply(AT_HALF_PAST_TWO)
    request(world, "early", "c1", "2026-03-29T00:00:00Z")  # at 02:00 it is 03:00
    request(world, "early", "c2", "2026-10-24T23:00:00Z")  # at 03:00 it is 02:00 again
    request(world, "early", "c3", "2026-10-25T00:55:00Z")  # behind the first half past two
    world.at("2026-10-28T00:00:00Z")
    assert received(world) == {
        "c1": "2026-03-29T01:00:00Z",
        "c2": "2026-10-25T00:30:00Z",
        "c3": "2026-10-26T01:30:00Z",
    }


@pytest.mark.feature("M30")
def test_a_window_follows_the_wall_clock_of_its_zone_over_the_change(world: World) -> None:
    contacts(world, 3)
    window = '{from: "09:00", to: "17:00"}'
    world.apply(ONE_MAIL.format(key="ny", zone="America/New_York", window=window))
    request(world, "ny", "c1", "2026-03-06T06:00:00Z")
    request(world, "ny", "c2", "2026-03-09T06:00:00Z")
    request(world, "ny", "c3", "2026-11-02T06:00:00Z")
    world.at("2026-11-05T00:00:00Z")
    assert received(world) == {
        "c1": "2026-03-06T14:00:00Z",
        "c2": "2026-03-09T13:00:00Z",
        "c3": "2026-11-02T14:00:00Z",
    }


@pytest.mark.feature("M31")
def test_days_that_are_not_of_the_window_are_skipped(world: World) -> None:
    contacts(world, 2)
    week = '{days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"}'
    world.apply(ONE_MAIL.format(key="week", zone="UTC", window=week))
    tuesday = '{days: [tue], from: "09:00", to: "17:00"}'
    world.apply(ONE_MAIL.format(key="tuesday", zone="UTC", window=tuesday))
    request(world, "week", "c1", "2026-01-10T10:00:00Z")
    request(world, "tuesday", "c2", "2026-01-10T10:00:00Z")
    world.at("2026-01-11T23:00:00Z")
    assert received(world) == {}
    world.at("2026-01-20T00:00:00Z")
    assert received(world) == {"c1": "2026-01-12T09:00:00Z", "c2": "2026-01-13T09:00:00Z"}


@pytest.mark.feature("M32")
def test_a_window_is_half_open_and_only_for_messages(world: World) -> None:
    contacts(world, 6)
    day = '{from: "09:00", to: "17:00"}'
    night = '{from: "22:00", to: "02:00"}'
    world.apply(ONE_MAIL.format(key="day", zone="UTC", window=day))
    world.apply(ONE_MAIL.format(key="night", zone="UTC", window=night))
    world.apply(MAIL_AND_TASK)
    request(world, "day", "c1", "2026-01-05T17:00:00Z")
    request(world, "day", "c2", "2026-01-05T16:59:59Z")
    request(world, "night", "c3", "2026-01-06T01:00:00Z")
    request(world, "night", "c4", "2026-01-06T02:00:00Z")
    request(world, "night", "c5", "2026-01-06T23:30:00Z")
    request(world, "welcome", "c6", "2026-01-05T20:00:00Z")
    world.at("2026-01-05T20:00:00Z")
    assert received(world) == {"c2": "2026-01-05T16:59:59Z"}
    tasks = world.sql("SELECT kind, assignee, state FROM dripd.task")
    assert [tuple(row) for row in tasks] == [("custom", "ann", "open")]
    done = world.sql("SELECT finished_at FROM dripd.step_run WHERE step_key = 'call'")
    assert done[0][0] == instant("2026-01-05T20:00:00Z")
    world.at("2026-01-08T00:00:00Z")
    assert received(world) == {
        "c2": "2026-01-05T16:59:59Z",
        "c3": "2026-01-06T01:00:00Z",
        "c1": "2026-01-06T09:00:00Z",
        "c4": "2026-01-06T22:00:00Z",
        "c5": "2026-01-06T23:30:00Z",
    }


TWO_MAILS = (
    ONE_MAIL
    + """
  - {{key: more, do: email, subject: Hi, text: Again, delay: 1d}}
"""
)


def test_a_message_follows_its_contact_to_another_zone(world: World) -> None:
    """It waits where the old window opens, and leaves in the new one."""
    world.contact("c1", timezone="UTC")
    world.contact("c2", timezone="UTC")
    window = '{from: "09:00", to: "10:00"}'
    world.apply(TWO_MAILS.format(key="near", zone="contact", window=window))
    world.enroll("near", "c1", "c2")
    world.tick()
    assert {"c1", "c2"} == {*received(world)}

    world.sql("UPDATE dripd.contact SET timezone = 'Asia/Kathmandu' WHERE external_id = 'c1'")
    world.at("2026-01-06T10:00:00Z")
    run = world.run("c1", "near")
    assert (run["status"], run["hold_reason"]) == ("held", "window")
    assert run["release_at"] == instant("2026-01-07T03:15:00Z")

    world.at("2026-01-08T00:00:00Z")
    assert received(world) == {"c1": "2026-01-07T03:15:00Z", "c2": "2026-01-06T09:00:00Z"}
