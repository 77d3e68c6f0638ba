"""What a team does every day: enters contacts, sends, looks, stops. One daemon for all of it.

Time only goes forward here, so every story counts from where it begins, with contacts and
campaigns of its own.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from dripd.errors import Conflict, DefinitionError
from tests.stories.world import World


def campaign(key: str, *steps: str, account: str = "acme", **top: str) -> str:
    """A campaign file of steps in flow style; *top* are further keys of it."""
    lines = [f"campaign: {key}", f"account: {account}", f"name: {key}"]
    lines += [f"{name}: {value}" for name, value in top.items()]
    lines += ["steps:", *(f"  - {step}" for step in steps)]
    return "\n".join(lines) + "\n"


def mail(key: str, **more: str) -> str:
    rest = "".join(f", {name}: {value}" for name, value in more.items())
    return f"{{key: {key}, do: email, subject: {key}, text: Hello{rest}}}"


FROM = {"sender": "hello@acme.test"}


def now(house: World) -> datetime:
    at: datetime = house.one("SELECT dripd.now()")
    return at


def got(house: World, contact: str, column: str = "subject") -> list[str]:
    """What reached a contact, in order."""
    return house.column(
        f"SELECT {column} FROM dripd.sink_message AS m JOIN dripd.contact AS c "
        "ON c.account_id = m.account_id AND m.recipient IN (c.email, c.phone) "
        "WHERE c.external_id = $1 ORDER BY m.received_at, m.id",
        contact,
    )


def steps(house: World, contact: str) -> list[Any]:
    """What was performed for a contact, run by run."""
    runs = house.column(
        "SELECT e.id FROM dripd.contact AS c JOIN dripd.enrollment AS e "
        "ON e.account_id = c.account_id AND e.contact_id = c.id WHERE c.external_id = $1 ORDER BY 1",
        contact,
    )
    return [
        row
        for run in runs
        for row in house.sql(
            "SELECT * FROM dripd.step_run WHERE account_id = (SELECT account_id FROM dripd.run "
            "WHERE id = $1) AND enrollment_id = $1 ORDER BY seq",
            run,
        )
    ]


def why(house: World, contact: str) -> list[str | None]:
    """What became of the requests for a contact, in order."""
    return house.column(
        "SELECT reject_reason FROM dripd.enroll_request AS q LEFT JOIN dripd.contact AS c "
        "ON c.account_id = q.account_id AND c.id = q.contact_id "
        "WHERE coalesce(q.external_id, c.external_id) = $1 ORDER BY q.id",
        contact,
    )


@pytest.mark.feature("C7")
def test_a_campaign_without_a_trigger_takes_only_who_is_asked_for(house: World) -> None:
    house.apply(campaign("plain", mail("a"), **FROM))
    house.contact("plain1")
    for name in ("plain-x", "plain-y"):
        house.bucket(name, "plain1")
    house.tick()
    assert house.one("SELECT count(*) FROM dripd.enrollment WHERE campaign_key = 'plain'") == 0
    house.enroll("plain", "plain1")
    house.tick()

    assert got(house, "plain1") == ["a"]


def test_a_sender_is_known_however_a_campaign_writes_it(house: World) -> None:
    house.call("sender.set", address="+1 (555) 777-0000", account="acme", channel="sms")
    text = '{key: b, do: sms, text: Hi, sender: "+15557770000"}'
    last = mail("c", sender="HELLO@acme.test")
    house.apply(campaign("written", mail("a"), text, last, sender="Hello@Acme.test"))
    house.contact("written1", phone="+4930777")
    house.enroll("written", "written1")
    house.tick()

    kept = ["hello@acme.test", "+1 (555) 777-0000", "hello@acme.test"]
    assert got(house, "written1", "m.sender") == kept
    found = house.call("sender.show", address="hello@ACME.test", account="acme")
    assert {"campaign_key": "written", "share": 1.0} in found["pools"]


@pytest.mark.feature("C20")
def test_a_step_may_have_a_sender_of_its_own(house: World) -> None:
    house.call("sender.set", address="b@acme.test", account="acme")
    house.apply(campaign("senders", mail("a"), mail("b", sender="b@acme.test"), **FROM))
    house.contact("senders1")
    house.enroll("senders", "senders1")
    house.tick()

    assert got(house, "senders1", "m.sender") == ["hello@acme.test", "b@acme.test"]


@pytest.mark.feature("C30")
def test_leaving_the_attached_list_before_adding_to_another_is_warned_of(house: World) -> None:
    leave, add = (
        "{key: out, do: list_remove, list: swap-b}",
        "{key: in, do: list_add, list: swap-d}",
    )
    house.bucket("swap-b")
    house.bucket("swap-d")
    wrong = campaign("swap-wrong", leave, add, triggers="[{on: list_added, list: swap-b}]")
    right = campaign("swap-right", add, leave, triggers="[{on: list_added, list: swap-b}]")

    def warnings(text: str) -> list[tuple[str, str]]:
        documents = [{"filename": "a.yaml", "text": text}]
        item = house.call("campaign.validate", documents=documents)["items"][0]
        return [(one["code"], one["path"]) for one in item["warnings"]]

    assert ("unreachable_after_exit", "steps[1]") in warnings(wrong)
    assert "unreachable_after_exit" not in [code for code, _ in warnings(right)]
    house.apply(wrong)
    house.contact("swap1")
    house.bucket("swap-b", "swap1")
    house.tick()
    lists = "SELECT l.key FROM dripd.list_member AS m JOIN dripd.contact_list AS l ON l.id = m.list_id JOIN dripd.contact AS c ON c.id = m.contact_id WHERE c.external_id = $1"

    assert house.column(lists, "swap1") == []
    house.call("campaign.deactivate", key="swap-wrong", account="acme")
    house.apply(right)
    house.contact("swap2")
    house.bucket("swap-b", "swap2")
    house.tick()

    assert house.column(lists, "swap2") == ["swap-d"]
    assert house.run("swap2", "swap-right")["end_reason"] == "completed:left_list"


@pytest.mark.feature("C41")
def test_two_thousand_steps_are_performed_in_their_order(house: World) -> None:
    many = [f"{{key: t{n}, do: tag_add, tag: t{n}}}" for n in range(2_000)]
    house.apply(campaign("many", *many))
    house.contact("many1")
    house.enroll("many", "many1")
    house.tick()
    rows = steps(house, "many1")

    assert house.run("many1", "many")["status"] == "completed"
    assert [row["step_key"] for row in rows] == [f"t{n}" for n in range(2_000)]
    assert [row["seq"] for row in rows] == list(range(1, 2_001))


@pytest.mark.feature("C44")
def test_each_way_into_the_list_enrolls_as_re_entry_allows(house: World) -> None:
    trigger = {"triggers": "[{on: list_added, list: leads}]", **FROM}
    house.bucket("leads")
    house.apply(campaign("again", mail("a"), policy="{reentry: after_end}", **trigger))
    house.apply(campaign("once", mail("b"), **trigger))
    house.contact("again1")
    for _ in range(2):
        house.bucket("leads", "again1")
        house.tick()
        house.sql(
            "DELETE FROM dripd.list_member WHERE contact_id = (SELECT id FROM dripd.contact WHERE external_id = 'again1')"
        )
        house.tick()

    assert got(house, "again1").count("a") == 2
    assert got(house, "again1").count("b") == 1
    assert sorted(str(one) for one in why(house, "again1")) == [
        "None",
        "None",
        "None",
        "already_ran",
    ]
    assert house.run("again1", "again")["run_no"] == 2


@pytest.mark.feature("C54")
def test_a_crowd_is_entered_by_one_statement_and_a_list_of_it_is_stopped(house: World) -> None:
    house.apply(campaign("crowd", "{key: w, do: delay, delay: 9d}", mail("a"), **FROM))
    house.sql(
        "INSERT INTO dripd.contact (account_id, external_id, email) SELECT id, 'crowd' || n, "
        "'crowd' || n || '@x.test' FROM dripd.account, generate_series(1, 2000) AS n WHERE key = 'acme'"
    )
    house.sql(
        "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id) "
        "SELECT 'acme', 'crowd', 'crowd' || n FROM generate_series(1, 2100) AS n"
    )
    house.tick()
    rows = house.sql(
        "SELECT status, reject_reason, count(*) FROM dripd.enroll_request "
        "WHERE campaign_key = 'crowd' GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [
        ("accepted", None, 2000), ("rejected", "unknown_contact", 100),
    ]  # fmt: skip
    house.bucket("crowd-x", *[f"crowd{n}" for n in range(1, 8)])
    house.bucket("crowd-x", "plain1")
    house.tick()
    house.call("enroll.stop", list=["crowd-x"], campaign=["crowd"], account="acme", yes=True)
    stopped = house.column(
        "SELECT c.external_id FROM dripd.enrollment AS e JOIN dripd.contact AS c ON c.id = e.contact_id "
        "WHERE e.campaign_key = 'crowd' AND e.status = 'terminated'"
    )

    assert sorted(stopped) == [f"crowd{n}" for n in range(1, 8)]


@pytest.mark.feature("C56")
def test_three_routes_at_once_enroll_once(house: World) -> None:
    house.bucket("routes")
    house.apply(
        campaign(
            "routes",
            "{key: w, do: delay, delay: 1d}",
            triggers="[{on: list_added, list: routes}]",
        )
    )
    house.contact("routes1")
    house.bucket("routes", "routes1")
    house.enroll("routes", "routes1")
    house.call("enroll.add", campaign="routes", account="acme", contacts=["routes1"])
    house.tick()

    assert sorted(str(one) for one in why(house, "routes1")) == [
        "None", "already_in:routes", "already_in:routes",
    ]  # fmt: skip
    assert house.one("SELECT count(*) FROM dripd.enrollment WHERE campaign_key = 'routes'") == 1


@pytest.mark.feature("S9")
@pytest.mark.feature("F9")
@pytest.mark.feature("F11")
def test_merge_tags_are_filled_and_a_missing_one_holds(house: World) -> None:
    text = '{key: a, do: sms, sender: ACME, text: "Hi {First Name}, {first_name|x} {FIRST  NAME} at {Address|home}"}'
    house.call("sender.set", address="ACME", account="acme", channel="sms")
    house.apply(campaign("tags", text))
    house.contact("tags1", phone="+4930900001")
    house.contact("tags2", phone="+4930900002", attrs="{}")
    house.enroll("tags", "tags1", "tags2")
    house.tick()

    assert got(house, "tags1", "m.body") == ["Hi Ann, Ann Ann at home"]
    assert got(house, "tags1", "m.sender") == ["ACME"]
    assert house.run("tags2", "tags")["hold_reason"] == "missing_tag:First Name"
    house.sql(
        "UPDATE dripd.contact SET attrs = '{\"first_name\": \"Bo\"}' WHERE external_id = 'tags2'"
    )
    house.tick()

    assert got(house, "tags2", "m.body") == ["Hi Bo, Bo Bo at home"]
    lines = house.call("contact.timeline", contact="tags2", account="acme")["items"]
    told = [
        line["kind"] for line in lines if line["detail"].get("reason", "").startswith("missing")
    ]
    assert told == ["held", "released"]


@pytest.mark.feature("C52")
def test_what_was_held_until_it_is_pointless_expires(house: World) -> None:
    step = "{key: a, do: email, subject: 'In {Town}', text: T, expires_after: 2h}"
    house.apply(campaign("late", step, mail("b"), fields="{town: text}", **FROM))
    for contact in ("late1", "late2"):
        house.contact(contact)
    house.enroll("late", "late1", "late2")
    house.tick()
    town = (
        'UPDATE dripd.contact SET attrs = attrs || \'{"town": "Ulm"}\' WHERE external_id = $1'
    )
    house.advance("2h")
    house.sql(town, "late1")
    house.tick()
    house.advance("1s")
    house.sql(town, "late2")
    house.tick()

    assert got(house, "late1", "m.subject") == ["In Ulm", "b"]
    assert got(house, "late2", "m.subject") == ["b"]


@pytest.mark.feature("F10")
def test_without_a_number_a_text_is_skipped_or_ends_the_run_as_its_step_says(
    house: World,
) -> None:
    house.apply(
        campaign("skips", "{key: a, do: sms, text: Hi, on_no_phone: skip}", mail("b"), **FROM)
    )
    house.apply(
        campaign("exits", "{key: a, do: sms, text: Hi, on_no_phone: exit}", mail("b"), **FROM)
    )
    house.contact("nophone1", phone=None)
    house.enroll("skips", "nophone1")
    house.enroll("exits", "nophone1")
    house.tick()
    first = steps(house, "nophone1")[0]

    assert (first["outcome"], first["reason"]) == ("skipped", "no_phone")
    assert got(house, "nophone1") == ["b"]
    run = house.run("nophone1", "exits")
    assert (run["status"], run["end_reason"]) == ("removed", "no_phone")


@pytest.mark.feature("S12")
@pytest.mark.feature("S13")
def test_a_contact_must_exist_and_somebody_must_be_able_to_send(house: World) -> None:
    house.call("account.set", key="mute")
    house.apply(campaign("mute", "{key: a, do: sms, text: Hi}", account="mute"), "mute")
    house.contact("mute1", "mute")
    house.enroll("mute", "mute1", "mute-nobody", account="mute")
    house.tick()
    assert why(house, "mute1") == ["no_sender"]
    assert why(house, "mute-nobody") == ["unknown_contact"]
    for number in ("+15551", "+15552"):
        house.call("sender.set", address=number, account="mute", channel="sms")
    house.apply(
        campaign(
            "pool", *[f"{{key: {key}, do: sms, text: Hi}}" for key in "abc"], account="mute"
        ),
        "mute",
    )
    names = [f"pool{n}" for n in range(8)]
    for n, name in enumerate(names):
        house.contact(name, "mute", phone=f"+49308000{n}")
    house.enroll("pool", *names, account="mute")
    house.tick()
    senders = [got(house, name, "m.sender") for name in names]

    assert all(len(set(one)) == 1 and len(one) == 3 for one in senders)
    assert {one[0] for one in senders} == {"+15551", "+15552"}


@pytest.mark.feature("S18")
def test_a_text_of_more_than_two_segments_is_refused_or_held(house: World) -> None:
    def codes(text: str) -> list[str]:
        step = json.dumps({"key": "a", "do": "sms", "text": text}, ensure_ascii=False)
        documents = [
            {"filename": "a.yaml", "text": campaign("seg", step, preset="smarter_contact")}
        ]
        item = house.call("campaign.validate", documents=documents)["items"][0]
        return [one["code"] for one in item["faults"]]

    assert codes("x" * 306) == []
    assert codes("x" * 307) == ["max_sms_segments"]
    assert codes("x" * 304 + "€") == []
    assert codes("x" * 305 + "€") == ["max_sms_segments"]
    assert codes("ж" * 132 + "😀") == []
    assert codes("ж" * 133 + "😀") == ["max_sms_segments"]
    fits = json.dumps({"key": "a", "do": "sms", "text": "y" * 250 + " {First Name}"})
    house.apply(campaign("seg", fits, preset="smarter_contact"))
    house.contact("seg1", phone="+4930700001", attrs=json.dumps({"first_name": "z" * 80}))
    house.enroll("seg", "seg1")
    house.tick()

    assert house.run("seg1", "seg")["hold_reason"] == "too_long"
    assert got(house, "seg1") == []


@pytest.mark.feature("S23")
def test_a_reply_in_the_conversation_of_a_run_stops_it(house: World) -> None:
    house.apply(campaign("talk", mail("a"), mail("b", delay="1d"), **FROM))
    house.contact("talk1")
    house.sql(
        "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, source, conversation_ref) "
        "VALUES ('acme', 'talk', 'talk1', 'messenger', 'talk-x')"
    )
    house.tick()
    assert house.run("talk1", "talk")["conversation_ref"] == "talk-x"
    house.sql(
        "INSERT INTO dripd.event_in (account_id, kind, conversation_ref) "
        "SELECT id, 'reply', 'talk-x' FROM dripd.account WHERE key = 'acme'"
    )
    house.tick()

    assert house.run("talk1", "talk")["end_reason"] == "reply"


@pytest.mark.feature("S1", "S23")
def test_who_replies_before_dripd_has_looked_is_sent_nothing(house: World) -> None:
    house.apply(campaign("early", mail("a"), **FROM))
    house.contact("early1")
    house.contact("early2")
    house.sql(
        """WITH asked AS (
            INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, conversation_ref)
            VALUES ('acme', 'early', 'early1', NULL), ('acme', 'early', 'early2', 'early-x'))
        INSERT INTO dripd.event_in (account_id, kind, contact_id, conversation_ref)
        SELECT account_id, 'reply', id, NULL FROM dripd.contact WHERE external_id = 'early1'
        UNION ALL SELECT id, 'reply', NULL, 'early-x' FROM dripd.account WHERE key = 'acme'"""
    )
    house.tick()

    assert [house.run(key, "early")["end_reason"] for key in ("early1", "early2")] == [
        "reply",
        "reply",
    ]
    assert got(house, "early1") == got(house, "early2") == []


@pytest.mark.feature("S8")
def test_days_count_from_the_start_or_from_the_step_before(house: World) -> None:
    mails = [mail("a"), mail("b", delay="7d"), mail("c", delay="30d")]
    house.contact("days1")
    start = now(house)

    def days(at: str) -> float:
        return (datetime.fromisoformat(at) - start) / timedelta(days=1)

    quoted = {}
    for anchor in ("after_start", "after_previous"):
        house.apply(campaign(anchor, *mails, policy=f"{{anchor: {anchor}}}", **FROM))
        told = house.call("campaign.quote", key=anchor, contact="days1", account="acme")
        quoted[anchor] = [days(one["at"]) for one in told["messages"]]
        house.enroll(anchor, "days1")
    house.advance("37d")
    left = (
        "SELECT d.sent_at FROM dripd.delivery AS d JOIN dripd.enrollment AS e "
        "ON e.id = d.enrollment_id WHERE e.campaign_key = $1 ORDER BY 1"
    )
    sent = {
        anchor: [(at - start) / timedelta(days=1) for at in house.column(left, anchor)]
        for anchor in quoted
    }

    assert sent == quoted == {"after_start": [0, 7, 30], "after_previous": [0, 7, 37]}


@pytest.mark.feature("S25")
def test_a_day_number_is_a_day_of_the_calendar_at_the_start_s_hour(house: World) -> None:
    hours = '{days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"}'
    for key, more in (("plain", {}), ("opening", {"day_at": "window_open"})):
        step = mail("a", day="3", **more)
        house.apply(campaign(f"day-{key}", step, window=hours, **FROM))
    house.contact("monday1")
    monday = datetime(2035, 1, 1, 15, tzinfo=UTC)
    house.sql(
        "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, start_at) "
        "SELECT 'acme', key, 'monday1', $1 FROM unnest('{day-plain, day-opening}'::text[]) AS key",
        monday,
    )
    house.tick()

    assert house.run("monday1", "day-plain")["due_at"] == monday + timedelta(days=3)
    opening = monday + timedelta(days=3, hours=-6)
    assert house.run("monday1", "day-opening")["due_at"] == opening


@pytest.mark.feature("S24")
def test_others_may_ask_whether_a_contact_is_being_written_to(house: World) -> None:
    house.apply(campaign("asked", mail("a"), mail("b", delay="1d"), **FROM))
    contact = house.contact("asked1")
    ask = "SELECT ok, campaign_key, next_send_at FROM dripd.may_send($1, 'email')"
    assert tuple(house.sql(ask, contact)[0]) == (True, None, None)
    house.enroll("asked", "asked1")
    house.tick()
    run = house.run("asked1", "asked")

    assert tuple(house.sql(ask, contact)[0]) == (False, "asked", run["due_at"])
    warned = house.call(
        "contact.send", contact="asked1", account="acme", subject="Hi", text="Hello"
    )
    assert "asked" in str(warned["warning"])
    house.apply(
        campaign(
            "guarded",
            mail("a"),
            mail("b", delay="1d"),
            policy="{individual: block, exclusivity: none}",
            **FROM,
        )
    )
    house.enroll("guarded", "asked1")
    house.tick()
    with pytest.raises(Conflict) as refusal:
        house.call("contact.send", contact="asked1", account="acme", subject="Hi", text="x")
    assert refusal.value.code == "already_in:guarded"
    house.call("enroll.stop", contact=["asked1"], account="acme", yes=True)

    assert tuple(house.sql(ask, contact)[0]) == (True, None, None)


@pytest.mark.feature("M2")
@pytest.mark.feature("M18")
@pytest.mark.feature("M45")
def test_the_timeline_tells_every_transition_and_nobody_can_change_it(house: World) -> None:
    house.apply(
        campaign("told", '{key: a, do: email, subject: "Hi {First Name}", text: x}',
                 mail("no", when="\"attrs.tier == 'gold'\""), mail("b", delay="1d"), **FROM)
    )  # fmt: skip
    house.contact("told1")
    house.enroll("told", "told1")
    house.tick()
    run = house.run("told1", "told")["id"]
    house.sql(
        "INSERT INTO dripd.event_in (account_id, delivery_id, kind) "
        "SELECT account_id, id, 'open' FROM dripd.delivery WHERE enrollment_id = $1", run
    )  # fmt: skip
    house.tick()
    house.advance("1d")
    items = house.call("contact.timeline", contact="told1", account="acme", enrollment=run)[
        "items"
    ]
    kinds = [(one["kind"], one["step_key"]) for one in items]

    assert kinds == [
        ("accepted", None), ("step_done", "a"), ("event", None), ("step_skipped", "no"),
        ("step_done", "b"), ("completed", None),
    ]  # fmt: skip
    journal = house.one("SELECT count(*) FROM dripd.journal WHERE enrollment_id = $1", run)
    assert journal == len([one for one in kinds if one[0] != "event"])
    assert [one["at"] for one in items] == sorted(one["at"] for one in items)
    labels = {one["step_key"]: one["detail"].get("name") for one in items if one["step_key"]}
    assert labels["a"] == "Hi {First Name}"
    counts = house.call("campaign.stats", key="told", account="acme")["steps"]
    assert [one["name"] for one in counts] == ["Hi {First Name}", "no", "b"]
    for change in ("UPDATE dripd.journal_log SET kind = 'x'", "DELETE FROM dripd.journal_log"):
        with pytest.raises(asyncpg.PostgresError):
            house.sql(change)


@pytest.mark.feature("M7")
@pytest.mark.feature("M16")
@pytest.mark.feature("F3")
@pytest.mark.feature("F6")
def test_mails_are_written_in_the_file_or_by_template_and_as_their_condition_says(
    house: World,
) -> None:
    text = campaign(
        "letters", "{key: a, do: email, template: hello}",
        mail("gold", when="\"attrs.tier == 'gold'\""),
        '{key: html, do: email, subject: "For {First Name}", text: "See https://x.test/a", html: \'<p>See <a href="https://x.test/a">it</a></p>\'}',
        templates='{hello: {subject: "Hi {First Name}", text: Hello}}', **FROM,
    )  # fmt: skip
    house.apply(text)
    house.contact("letters1")
    house.contact("letters2", attrs='{"first_name": "Bo\\nBcc: all@x.test", "tier": "gold"}')
    house.enroll("letters", "letters1", "letters2")
    house.tick()

    assert got(house, "letters1") == ["Hi Ann", "For Ann"]
    assert got(house, "letters2")[1] == "gold"
    assert all("\n" not in one and "\r" not in one for one in got(house, "letters2"))
    skipped = [row for row in steps(house, "letters1") if row["outcome"] == "skipped"]
    assert [(row["step_key"], row["reason"]) for row in skipped] == [
        ("gold", "condition_false")
    ]
    body = got(house, "letters1", "m.body")[1]
    assert "https://x.test/a" in body
    assert "Bcc" not in {
        name for one in got(house, "letters2", "m.headers") for name in json.loads(one)
    }


@pytest.mark.feature("M23")
def test_who_is_not_on_the_board_is_not_taken(house: World) -> None:
    house.call("list.set", key="deals", account="acme", kind="board")
    house.apply(campaign("boarded", mail("a"), board="deals", **FROM))
    house.contact("board1")
    house.contact("board2")
    house.bucket("deals", "board1")
    house.enroll("boarded", "board1", "board2")
    house.tick()

    assert (why(house, "board1"), why(house, "board2")) == ([None], ["not_on_board"])


@pytest.mark.feature("M25")
@pytest.mark.feature("M29")
def test_removal_rules_are_switched_one_by_one_and_set_a_status(house: World) -> None:
    rules = "[{on: reply, set: {status: Engaged}}, {on: open, enabled: false}, {on: bounce, enabled: false}]"
    house.apply(campaign("rules", mail("a"), mail("b", delay="1d"), exit_rules=rules, **FROM))
    house.contact("rules1")
    house.enroll("rules", "rules1")
    house.tick()
    house.event("rules1", "open")
    house.tick()
    assert house.run("rules1", "rules")["status"] == "waiting"
    house.event("rules1", "reply")
    house.tick()
    attrs = json.loads(
        house.one("SELECT attrs FROM dripd.contact WHERE external_id = 'rules1'")
    )

    assert house.run("rules1", "rules")["end_reason"] == "reply"
    assert attrs["status"] == "Engaged"


@pytest.mark.feature("M41")
@pytest.mark.feature("M42")
def test_each_change_to_a_status_enrolls_and_none_that_is_no_change(house: World) -> None:
    trigger = "[{on: status_changed, field: status, to: Interested}]"
    house.apply(
        campaign("lead", mail("a"), triggers=trigger, policy="{reentry: after_end}", **FROM)
    )
    house.contact("lead1", attrs='{"first_name": "Ann", "status": "New"}')

    def becomes(status: str) -> int:
        house.sql(
            "UPDATE dripd.contact SET attrs = attrs || jsonb_build_object('status', $1::text) "
            "WHERE external_id = 'lead1'",
            status,
        )
        house.tick()
        runs: int = house.one(
            "SELECT count(*) FROM dripd.enrollment WHERE campaign_key = 'lead'"
        )
        return runs

    assert [becomes(one) for one in ("Interested", "Interested", "Lost", "Interested")] == [
        1,
        1,
        1,
        2,
    ]
    assert house.run("lead1", "lead")["run_no"] == 2


@pytest.mark.feature("M44")
def test_the_counts_of_a_campaign_are_those_of_its_runs(house: World) -> None:
    house.apply(campaign("counts", mail("a"), mail("b", delay="1d"), **FROM))
    names = [f"counts{n}" for n in range(10)]
    for name in names:
        house.contact(name)
    house.enroll("counts", *names[:4])
    house.tick()
    house.advance("1d")
    house.enroll("counts", *names[4:])
    house.tick()
    for name in names[4:6]:
        house.event(name, "reply")
    house.tick()
    stats = house.call("campaign.stats", key="counts", account="acme")

    assert {key: stats[key] for key in ("enrolled", "active", "completed", "removed", "sent")} == {
        "enrolled": 10, "active": 4, "completed": 4, "removed": 2, "sent": 14,
    }  # fmt: skip
    assert [(one["step_key"], one["at"], one["sent"]) for one in stats["steps"]] == [
        ("a", 0, 10), ("b", 4, 4),
    ]  # fmt: skip


@pytest.mark.feature("M60")
def test_new_contacts_of_a_board_are_enrolled_and_those_before_are_not(house: World) -> None:
    house.call("list.set", key="inbound", account="acme", kind="board")
    for n in range(3):
        house.contact(f"before{n}")
    house.bucket("inbound", *[f"before{n}" for n in range(3)])
    house.tick()
    house.apply(
        campaign("fresh", mail("a"), triggers="[{on: contact_created, board: inbound}]", **FROM)
    )
    house.sql(
        """WITH made AS (
               INSERT INTO dripd.contact (account_id, external_id, email)
               SELECT id, 'fresh' || n, 'fresh' || n || '@x.test' FROM dripd.account, generate_series(1, 4) AS n
               WHERE key = 'acme' RETURNING account_id, id, external_id
           ) INSERT INTO dripd.list_member (account_id, list_id, contact_id)
           SELECT m.account_id, l.id, m.id FROM made AS m JOIN dripd.contact_list AS l
           ON l.account_id = m.account_id AND l.key = 'inbound' WHERE m.external_id <> 'fresh4'"""
    )
    house.tick()
    rows = house.column(
        "SELECT c.external_id FROM dripd.enrollment AS e JOIN dripd.contact AS c ON c.id = e.contact_id "
        "WHERE e.campaign_key = 'fresh' ORDER BY 1"
    )

    assert rows == ["fresh1", "fresh2", "fresh3"]


@pytest.mark.feature("M60")
def test_a_contact_may_come_to_its_board_after_it_was_made(house: World) -> None:
    triggers = "[{on: contact_created, board: arrivals}]"
    house.call("list.set", key="arrivals", account="acme", kind="board")
    old = house.contact("old")
    house.apply(campaign("newcomers", mail("a"), triggers=triggers, **FROM))
    soon, late = house.contact("soon"), house.contact("late")
    house.tick()
    house.bucket("arrivals", "old", "soon")
    house.advance("2m")
    house.bucket("arrivals", "late")
    house.tick()

    found = "SELECT contact_id FROM dripd.enrollment WHERE campaign_key = 'newcomers'"
    assert house.column(found) == [soon]
    assert old < soon < late


@pytest.mark.feature("F8")
def test_inline_content_has_no_life_outside_its_campaign(house: World) -> None:
    house.apply(
        campaign("holder", "{key: a, do: email, template: mine}",
                 templates="{mine: {subject: Hi, text: Hello}}", **FROM)
    )  # fmt: skip
    house.call("campaign.archive", key="holder", account="acme")
    other = campaign("other", "{key: a, do: email, template: mine}", **FROM)
    house.call(
        "campaign.apply", documents=[{"filename": "a.yaml", "text": other}], account="acme"
    )
    with pytest.raises(DefinitionError) as refusal:
        house.call("campaign.activate", key="other", account="acme")

    assert [fault.code for fault in refusal.value.faults] == ["missing_template:mine"]


@pytest.mark.feature("M11")
@pytest.mark.feature("M56")
def test_delays_and_holidays_keep_their_order_and_days_over_a_restart(house: World) -> None:
    start = now(house).date()
    closed = house.one("SELECT (dripd.now() + interval '2 days')::date::text")
    window = f'{{from: "00:00", to: "23:59", holidays: ["{closed}"]}}'
    house.apply(
        campaign(
            "slow",
            mail("a"),
            "{key: d, do: delay, delay: 2d}",
            mail("b"),
            window=window,
            **FROM,
        )
    )
    house.contact("slow1")
    house.enroll("slow", "slow1")
    house.advance("1d")
    house.restart()
    house.advance("3d")
    days = house.column(
        "SELECT (received_at::date - $1::date)::int FROM dripd.sink_message "
        "WHERE recipient = 'slow1@x.test' ORDER BY id",
        start,
    )

    assert got(house, "slow1") == ["a", "b"]
    assert days == [0, 3]
    assert [row["step_key"] for row in steps(house, "slow1")] == ["a", "d", "b"]


@pytest.mark.feature("C47")
def test_a_run_of_five_years_keeps_its_days_over_restarts(house: World) -> None:
    mails = [mail(f"m{n}", **({"delay": "30d"} if n else {})) for n in range(60)]
    house.apply(campaign("years", *mails, **FROM))
    house.contact("years1")
    house.enroll("years", "years1")
    house.tick()
    start = now(house)
    for _ in range(3):
        house.advance("620d")
        house.restart()
    days = house.column(
        "SELECT extract(day FROM received_at - $1)::int FROM dripd.sink_message "
        "WHERE recipient = 'years1@x.test' ORDER BY received_at",
        start,
    )

    assert days == [30 * n for n in range(60)]
    assert house.run("years1", "years")["status"] == "completed"
