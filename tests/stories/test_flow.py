"""How fast, and is it any use? The limits of senders and providers, told from outside."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from dripd.clock import Instant, format_instant, parse_instant
from dripd.errors import DripdError
from tests.stories.crowd import contacts, enroll_all
from tests.stories.world import World, until

ONE_MAIL = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
"""

TWO_SENDERS = """
campaign: welcome
account: acme
name: Welcome
sender: hello@acme.test
steps:
  - {key: hello, do: email, subject: Hi, text: Hello}
  - {key: again, do: email, subject: Again, text: Hello, sender: other@acme.test}
"""


def sender(world: World, address: str = "hello@acme.test") -> Any:
    """What the list of senders says of one."""
    rows = world.call("sender.list", account="acme")["items"]
    return next(row for row in rows if row["address"] == address)


def why(world: World) -> list[str]:
    """What keeps the first held run back, gate by gate."""
    run = world.one("SELECT min(id) FROM dripd.enrollment WHERE status = 'held'")
    (told,) = world.call("enroll.explain", enrollment=run)["enrollments"]
    return [gate["detail"] for gate in told["chain"]]


def alerts(world: World) -> set[str]:
    """What the overview warns of."""
    return {one["what"] for one in world.call("daemon.overview", brief=True)["alerts"]}


def start(world: World, n: int, text: str = ONE_MAIL) -> None:
    contacts(world, n, "acme")
    world.apply(text)
    enroll_all(world, "welcome", "acme")


def holds(world: World) -> dict[str, int]:
    """hold_reason -> runs."""
    rows = world.column("SELECT hold_reason FROM dripd.enrollment WHERE status = 'held'")
    return dict(Counter(rows))


def sent_at(world: World) -> dict[str, int]:
    rows = world.column(
        "SELECT to_char(received_at AT TIME ZONE 'UTC', 'DD HH24:MI') FROM dripd.sink_message"
    )
    return dict(sorted(Counter(rows).items()))


def test_a_sender_leaves_no_faster_than_its_rate(world: World) -> None:
    world.call("sender.set", address="hello@acme.test", account="acme", rate="2/min burst 3")
    start(world, 7)
    world.tick()
    assert holds(world) == {"rate": 4}
    assert (sender(world)["standing"]["tokens"], sender(world)["standing"]["burst"]) == (0, 3)
    assert world.one("SELECT sum(used)::int FROM dripd.account_day") == 3
    world.advance("3m")

    assert sent_at(world) == {"05 09:00": 4, "05 09:01": 2, "05 09:02": 1}
    assert holds(world) == {}


def test_a_sender_s_daily_limit_holds_until_its_next_local_day(world: World) -> None:
    world.call("sender.set", address="hello@acme.test", account="acme", daily_limit=3)
    start(world, 5)
    world.tick()
    assert holds(world) == {"cap": 2}
    run = world.one("SELECT min(id) FROM dripd.enrollment WHERE status = 'held'")
    (told,) = world.call("enroll.explain", enrollment=run)["enrollments"]
    assert told["ready_at"] == told["release_at"] == "2026-01-06T00:00:00Z"
    (gate,) = told["chain"]
    assert (gate["gate"], gate["until"]) == ("cap", told["ready_at"])
    assert "sender" in gate["detail"]
    world.restart()
    world.at("2026-01-05T23:00:00Z")
    assert sent_at(world) == {"05 09:00": 3}
    world.at("2026-01-06T01:00:00Z")

    assert sent_at(world) == {"05 09:00": 3, "06 00:00": 2}


WAITING = """
campaign: welcome
account: {key}
name: Welcome
sender: hello@{key}.test
{more}
steps:
  - {{key: hello, do: email, subject: Hi, text: Hello}}
  - {{key: again, do: email, delay: 2h, subject: Again, text: Hello}}
"""


@pytest.mark.feature("M57")
def test_explain_tells_when_each_of_those_goes_that_share_a_rate_or_a_sender_s_day(
    world: World,
) -> None:
    closed = 'window: {from: "08:00", to: "11:00"}'
    limits: dict[str, tuple[str, dict[str, Any]]] = {
        "slow": ("", {"rate": "1/h"}),
        "small": ("", {"daily_limit": 2}),
        "both": (closed, {"daily_limit": 2, "rate": "1/h"}),
        "mailbox": ("", {"gap": "60s-120s"}),
        "account": (closed, {}),
    }
    for key, (more, limit) in limits.items():
        world.account(key)
        if limit:
            world.call("sender.set", address=f"hello@{key}.test", account=key, **limit)
        contacts(world, 5, key)
        world.apply(WAITING.format(key=key, more=more), account=key)
    world.call("account.set", key="account", rate="2/h")
    for key in limits:
        enroll_all(world, "welcome", key)
    world.tick()
    runs = world.sql("SELECT id, account_id, step_key FROM dripd.enrollment ORDER BY id")
    told = {}
    for run in runs:
        (one,) = world.call("enroll.explain", enrollment=run["id"])["enrollments"]
        told[run["id"], run["step_key"]] = one["ready_at"]
    assert len(set(told.values())) > 10
    world.advance("8d")
    went = {
        (row["enrollment_id"], row["step_key"]): format_instant(
            Instant(round(row["accepted_at"].timestamp() * 1000))
        )
        for row in world.sql("SELECT enrollment_id, step_key, accepted_at FROM dripd.delivery")
    }

    assert {key: went[key] for key in told} == told


def test_a_new_sender_warms_up_day_by_day(world: World) -> None:
    world.call("sender.set", address="hello@acme.test", account="acme", warmup="2 +3/d")
    shown = world.call("sender.show", address="hello@acme.test", account="acme")
    assert shown["warmup"] == "2 +3/d from 2026-01-05"
    start(world, 12)
    world.at("2026-01-07T12:00:00Z")
    assert sent_at(world) == {"05 09:00": 2, "06 00:00": 5, "07 00:00": 5}
    assert (sender(world)["used_today"], sender(world)["limit_today"]) == (5, 8)


def test_a_mailbox_rests_between_two_mails_and_explain_says_until_when(world: World) -> None:
    with pytest.raises(DripdError, match="is no gap"):
        world.call("sender.set", address="hello@acme.test", account="acme", gap="soon")
    world.call("sender.set", address="hello@acme.test", account="acme", gap="60s-120s")
    shown = world.call("sender.show", address="hello@acme.test", account="acme")
    assert shown["gap"] == "60s-120s"
    start(world, 3)
    world.tick()
    assert holds(world) == {"rate": 2}
    next_at = world.one("SELECT next_at FROM dripd.sender_turn")
    run = world.one("SELECT min(id) FROM dripd.enrollment WHERE status = 'held'")
    (told,) = world.call("enroll.explain", enrollment=run)["enrollments"]
    assert parse_instant(told["ready_at"]) == round(next_at.timestamp() * 1000)
    assert [gate["gate"] for gate in told["chain"]] == ["rate"]
    assert sender(world)["next_at"] == told["ready_at"]
    world.restart()
    world.call("sender.set", address="hello@acme.test", account="acme", owner="ann")
    world.advance("10m")

    sent = world.column("SELECT received_at FROM dripd.sink_message ORDER BY 1")
    waits = [(after - at).total_seconds() for at, after in pairwise(sent)]
    assert sent[1] == next_at
    assert len(sent) == 3
    assert all(60 <= wait <= 120 for wait in waits)
    assert world.column("SELECT DISTINCT attempt FROM dripd.delivery") == [1]


def test_a_paused_sender_parks_its_lane_and_touches_no_run(world: World) -> None:
    world.call("sender.pause", address="hello@acme.test", account="acme")
    start(world, 5)
    world.tick()
    assert holds(world) == {"no_sender": 5}
    assert why(world) == ["hello@acme.test is paused (by hand) until dripd sender resume"]
    assert world.one("SELECT count(*) FROM dripd.park") == 1
    assert world.one("SELECT count(*) FROM dripd.due_step WHERE lane < 0") == 0
    world.call("sender.resume", address="hello@acme.test", account="acme")
    world.tick()

    assert sent_at(world) == {"05 09:00": 5}


def test_a_limit_of_one_of_two_senders_holds_its_messages_alone(world: World) -> None:
    world.call("sender.set", address="other@acme.test", account="acme", daily_limit=2)
    start(world, 4, TWO_SENDERS)
    world.at("2026-01-05T10:00:00Z")
    assert holds(world) == {"cap": 2}
    world.at("2026-01-06T10:00:00Z")

    assert sent_at(world) == {"05 09:00": 6, "06 00:00": 2}
    assert holds(world) == {}
    assert world.column("SELECT DISTINCT status FROM dripd.enrollment") == ["completed"]


def test_a_provider_that_fails_is_left_alone_and_probed(world: World) -> None:
    world.sql("INSERT INTO dripd.sink_rule (recipient_like, answer) VALUES ('%', 'temporary')")
    start(world, 60)
    world.tick()
    tried = world.one("SELECT count(*) FROM dripd.step_log WHERE state = 0")
    world.advance("10m")
    assert holds(world) == {"breaker": 60}
    assert [one["of"] for one in sender(world)["standing"]["breakers"]] == [
        "sender",
        "provider sink",
    ]
    assert "provider sink fails: tried again at 2026-01-05T09:" in why(world)[-1]
    until(lambda: "provider fails" in alerts(world))
    probes = world.one("SELECT count(*) FROM dripd.step_log WHERE state = 0") - tried
    assert probes <= 6
    assert world.one("SELECT sum(used)::int FROM dripd.account_day") == 0
    world.sql("DELETE FROM dripd.sink_rule")
    world.advance("30m")

    assert sum(sent_at(world).values()) == 60
    assert holds(world) == {}


TWICE_A_DAY = """
campaign: {key}
account: acme
name: Often
sender: hello@acme.test
class: {klass}
policy: {{frequency: {{per_contact: 2/1d}}}}
steps:
  - {{key: hello, do: email, subject: "{key}", text: Hello}}
  - {{key: note, do: tag_add, tag: told}}
"""


def test_a_contact_is_written_to_so_often_across_campaigns(world: World) -> None:
    """Four campaigns want the same contact at once; the transactional one may."""
    contacts(world, 1, "acme")
    for key in ("one", "two", "three"):
        world.apply(TWICE_A_DAY.format(key=key, klass="personal"))
    world.apply(TWICE_A_DAY.format(key="receipt", klass="transactional"))
    for key in ("one", "two", "three"):
        enroll_all(world, key, "acme")
    world.tick()
    held = world.sql(
        "SELECT hold_reason, release_at::text, due_at = release_at FROM dripd.enrollment "
        "WHERE status = 'held'"
    )
    assert [tuple(row) for row in held] == [("frequency", "2026-01-06 09:00:00+00", True)]
    assert sent_at(world) == {"05 09:00": 2}
    world.restart()
    enroll_all(world, "receipt", "acme")
    world.at("2026-01-05T10:00:00Z")
    assert sent_at(world) == {"05 09:00": 3}
    world.at("2026-01-07T10:00:00Z")

    assert sent_at(world) == {"05 09:00": 3, "06 09:00": 1}
    assert holds(world) == {}


def test_what_was_put_off_expires_by_when_it_first_came_due(world: World) -> None:
    """The contact is free again at eleven, within the two hours; by then the campaign is paused."""
    contacts(world, 1, "acme")
    often = TWICE_A_DAY.replace("2/1d", "1/1h")
    world.apply(often.format(key="one", klass="personal"))
    world.advance("1h")
    enroll_all(world, "one", "acme")
    world.tick()
    limited = often.replace("text: Hello", "text: Hello, expires_after: 2h")
    for key in ("two", "three"):
        world.apply(limited.format(key=key, klass="personal"))
        enroll_all(world, key, "acme")
    world.tick()
    world.call("campaign.pause", key="two", account="acme", yes=True)
    world.call("campaign.pause", key="three", account="acme", yes=True)
    world.at("2026-01-05T12:00:00Z")
    world.call("campaign.resume", key="two", account="acme")
    world.at("2026-01-05T12:30:00Z")
    world.call("campaign.resume", key="three", account="acme")
    world.at("2026-01-07T10:00:00Z")

    expired = "SELECT step_key FROM dripd.step_run WHERE reason = 'expired'"
    assert world.column(expired) == ["hello"]
    assert sent_at(world) == {"05 10:00": 1, "05 12:00": 1}


def test_a_message_that_is_tried_again_expires_by_when_it_first_came_due(world: World) -> None:
    """It is tried after about one minute, three, seven; the fourth try would come after fifteen."""
    world.sql("INSERT INTO dripd.sink_rule (recipient_like, answer) VALUES ('%', 'temporary')")
    contacts(world, 2, "acme")
    for key, text in (("short", "text: Hello, expires_after: 10m"), ("long", "text: Hello")):
        world.apply(ONE_MAIL.replace("welcome", key).replace("text: Hello", text))
        enroll_all(world, key, "acme")
    world.at("2026-01-05T09:30:00Z")
    world.sql("DELETE FROM dripd.sink_rule")
    world.at("2026-01-07T09:00:00Z")

    runs = world.sql(
        "SELECT campaign_key, outcome, s.reason, s.finished_at < '2026-01-05T09:10Z' AS early "
        "FROM dripd.step_run AS s JOIN dripd.enrollment AS e ON e.id = s.enrollment_id "
        "ORDER BY campaign_key DESC"
    )
    assert [tuple(row) for row in runs] == [
        *[("short", "skipped", "expired", True)] * 2, *[("long", "done", None, False)] * 2
    ]  # fmt: skip
    assert len(world.sent()) == 2


def back(world: World, kind: str, n: int, skip: int = 0) -> None:
    """Something comes back of *n* of the messages that left, but for the first *skip*."""
    world.sql(
        "INSERT INTO dripd.event_in (account_id, delivery_id, kind, payload) "
        'SELECT account_id, id, $1, \'{"type": "hard"}\' FROM dripd.delivery '
        "WHERE state = 'accepted' ORDER BY enrollment_id OFFSET $3 LIMIT $2",
        *(kind, n, skip),
    )


MORE = ONE_MAIL.replace("campaign: welcome", "campaign: more")


def test_a_sender_of_whose_mail_too_much_comes_back_is_paused_and_told_of(
    world: World,
) -> None:
    world.call("sender.set", address="hello@acme.test", account="acme", owner="ann")
    start(world, 200)
    world.tick()
    back(world, "bounce", 10)
    world.tick()
    shown = world.call("sender.show", address="hello@acme.test", account="acme")
    assert (shown["status"], shown["pause_reason"]) == ("active", None)
    assert shown["reputation"]["bounce_rate"] == 0.05

    back(world, "bounce", 1, skip=10)
    world.tick()
    shown = world.call("sender.show", address="hello@acme.test", account="acme")
    assert (shown["status"], shown["pause_reason"]) == ("paused", "bounce_rate")
    assert shown["reputation"]["bounced"] == 11
    told = world.call("notification.list", account="acme")["items"]
    (note,) = [one for one in told if one["kind"] == "paused"]
    assert (note["recipient"], note["payload"]["reason"]) == ("ann", "bounce_rate")
    noted = world.column("SELECT detail->>'reason' FROM dripd.journal WHERE kind = 'paused'")
    assert noted == ["bounce_rate"]
    world.apply(MORE)
    enroll_all(world, "more", "acme")
    world.tick()
    assert set(holds(world)) == {"no_sender"}
    assert why(world) == ["hello@acme.test is paused (bounce_rate) until dripd sender resume"]
    until(lambda: "sender stopped" in alerts(world))

    world.call("sender.resume", address="hello@acme.test", account="acme")
    back(world, "complaint", 2, skip=20)
    world.advance("1h")
    shown = world.call("sender.show", address="hello@acme.test", account="acme")
    assert (shown["status"], shown["pause_reason"]) == ("active", None)
    assert shown["reputation"]["bounced"] == 0
    assert holds(world) == {}
