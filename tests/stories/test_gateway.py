"""What recipients, mail clients and providers reach over HTTP."""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from dripd.channels.mime import message_id
from dripd.channels.signing import sign_standard
from tests.stories.world import STARTUP_S, World, until

WHSEC = "whsec_" + b64encode(b"w" * 32).decode()

BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"}

NEWS = """
campaign: news
account: acme
name: News
{top}
sender: hello@acme.test
exit_rules: [{{on: open}}, {{on: bounce, enabled: false}}]
steps:
  - key: one
    do: email
    subject: One
    text: "[offer](https://shop.test/x)"
    html: "<body><a data-link=offer href='https://shop.test/x?c={{City|Rome}}&amp;d=1'>Go</a></body>"
    track: {track}
  - {{key: two, do: email, delay: 3d, subject: Two, text: Two}}
"""


@pytest.fixture(scope="module")
def base(pg_databases: Any) -> Iterator[World]:
    """One daemon for all stories here: each has contacts and a campaign of its own."""
    with (
        pytest.MonkeyPatch.context() as environment,
        pg_databases.fresh() as dsn,
        TemporaryDirectory(prefix="dripd-") as state,
    ):
        environment.setenv("STORY_WEBHOOK", WHSEC)
        environment.setenv("DRIPD_PROVIDER__SINK__KIND", "sink")
        environment.setenv("DRIPD_PROVIDER__SINK__WEBHOOK_SECRET", "env:STORY_WEBHOOK")
        environment.setenv("STORY_PARSE", "a password")
        environment.setenv("DRIPD_PROVIDER__PARSE__KIND", "sendgrid")
        environment.setenv("DRIPD_PROVIDER__PARSE__API_KEY", "env:STORY_PARSE")
        environment.setenv("DRIPD_PROVIDER__PARSE__INBOUND_SECRET", "env:STORY_PARSE")
        with World(dsn, Path(state)) as world:
            yield world


def send(world: World, key: str, *, track: str = "{}", top: str = "") -> Any:
    """Contact *key* has received the first mail of a campaign *key*: the sink's row of it."""
    world.contact(key)
    world.apply(NEWS.format(track=track, top=top).replace("campaign: news", f"campaign: {key}"))
    world.enroll(key, key)
    world.tick()
    rows = world.sql("SELECT * FROM dripd.sink_message WHERE recipient = $1", f"{key}@x.test")
    assert len(rows) == 1
    return rows[0]


def links(body: str) -> tuple[str, str]:
    """The address of the one link and of the pixel."""
    href, pixel = re.findall(r"(?:href|src)=[\"']([^\"']*)[\"']", body)
    return unescape(href), unescape(pixel)


def fetch(method: str, url: str, **more: Any) -> httpx.Response:
    return httpx.request(method, url, headers=BROWSER, trust_env=False, **more)


def logged(world: World, contact: str, n: int) -> list[tuple[str, str, Any]]:
    """Kind, delivery and payload of the *n* events of a contact, once they are processed."""
    end = time.monotonic() + STARTUP_S
    while True:
        world.tick()
        rows = world.sql(
            "SELECT e.kind, e.delivery_id, e.payload FROM dripd.event_log AS e "
            "JOIN dripd.contact AS c ON c.id = e.contact_id WHERE c.external_id = $1 "
            "AND e.kind <> 'contact_created' ORDER BY e.id",
            contact,
        )
        if len(rows) >= n:
            return [(kind, delivery, json.loads(payload)) for kind, delivery, payload in rows]
        assert time.monotonic() < end, rows
        time.sleep(0.05)


def test_the_status_says_where_http_is_answered(base: World) -> None:
    gateway = base.call("daemon.status")["gateway"]

    assert gateway["url"].startswith("http://127.0.0.1:")
    assert fetch("GET", gateway["url"]).status_code == 404


@pytest.mark.feature("C22")
def test_opens_and_clicks_are_events_of_the_delivery(base: World) -> None:
    mail = send(base, "watched", track="{click: true, open: true}")
    click, pixel = links(mail["body"])
    opened, clicked = fetch("GET", pixel), fetch("GET", click)

    assert opened.headers["content-type"] == "image/gif"
    assert clicked.headers["location"] == "https://shop.test/x?c=Rome&d=1"
    delivery = f"{mail['enrollment_id']}-1"
    assert logged(base, "watched", 2) == [
        ("open", delivery, {}),
        ("click", delivery, {"link": "offer"}),
    ]
    told = base.call("contact.timeline", contact="watched", account="acme")["items"]
    events = [item for item in told if item["kind"] == "event"]
    seen = [(item["detail"]["event"], item["detail"].get("link")) for item in events]
    assert {("open", None), ("click", "offer")} <= set(seen)
    assert all(item["at"] for item in events)


@pytest.mark.feature("C22")
def test_an_untracked_body_is_as_it_was_written(base: World) -> None:
    body = send(base, "unwatched")["body"]

    assert body == (
        "<body><a data-link=offer href='https://shop.test/x?c=Rome&amp;d=1'>Go</a></body>"
    )


@pytest.mark.feature("M27")
def test_a_machine_that_opens_ends_nothing_and_a_person_does(base: World) -> None:
    _, pixel = links(send(base, "opener", track="{click: true, open: true}")["body"])
    httpx.get(pixel, headers={"User-Agent": "Mozilla/5.0"}, trust_env=False)

    assert [payload for _, _, payload in logged(base, "opener", 1)] == [{"machine": True}]
    assert base.run("opener", "opener")["status"] == "waiting"
    fetch("GET", pixel)
    logged(base, "opener", 2)
    run = base.run("opener", "opener")
    assert (run["status"], run["end_reason"]) == ("removed", "open")


@pytest.mark.feature("C53")
def test_one_post_unsubscribes_and_nothing_more_is_sent(base: World) -> None:
    mail = send(base, "leaver")
    headers = json.loads(mail["headers"])
    url = headers["List-Unsubscribe"].strip("<>")

    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert [fetch(how, url).status_code for how in ("GET", "HEAD", "OPTIONS")] == [
        200,
        200,
        405,
    ]
    assert logged(base, "leaver", 0) == []
    answer = httpx.post(url, data={"List-Unsubscribe": "One-Click"}, trust_env=False)
    assert (answer.status_code, answer.history) == (200, [])
    logged(base, "leaver", 1)
    run = base.run("leaver", "leaver")
    assert (run["status"], run["end_reason"]) == ("removed", "unsubscribe")
    check = base.call("suppress.check", address="leaver@x.test", account="acme")
    assert check["suppressed"] is True


@pytest.mark.feature("C53")
def test_marketing_mail_needs_a_postal_address_and_shows_it(base: World) -> None:
    text = NEWS.format(track="{}", top="class: marketing").replace("news", "ads", 1)
    refused = base.call("campaign.validate", documents=[{"filename": "a", "text": text}])
    faults = [fault["code"] for fault in refused["items"][0]["faults"]]
    assert faults == ["missing:postal_address"]
    base.call("account.set", key="acme", postal_address="Acme, Main St 1, Town")
    body = send(base, "buyer", top="class: marketing")["body"]
    assert "Acme, Main St 1, Town<br>" in body
    assert re.search(r'<a href="http://[^"]+/u/[^"]+">Unsubscribe</a>', body)
    transactional = send(base, "customer", top="class: transactional")
    assert "List-Unsubscribe" not in json.loads(transactional["headers"])


def test_a_public_url_is_what_links_begin_with(
    pg_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIPD_GATEWAY__PUBLIC_URL", "https://mail.acme.test/drip")
    with World(pg_dsn, tmp_path) as world:
        mail = send(world, "far", track="{click: true, open: true}")
        click, pixel = links(mail["body"])

    assert click.startswith("https://mail.acme.test/drip/c/")
    assert pixel.startswith("https://mail.acme.test/drip/o/")
    header = json.loads(mail["headers"])["List-Unsubscribe"]
    assert header.startswith("<https://mail.acme.test/drip/u/")
    key = (tmp_path / "gateway.key").read_text()
    assert key not in world.log()
    assert header[1:-1].rpartition("/")[2] not in world.log()


def hook(world: World, own_id: str, kind: str, *, forged: bool = False, **data: Any) -> int:
    """The provider `sink` tells of something; the status of its answer."""
    body = json.dumps({"type": kind, "data": data}).encode()
    seconds = str(int(time.time()))
    headers = {
        "webhook-id": own_id,
        "webhook-timestamp": seconds,
        "webhook-signature": "v1,forged"
        if forged
        else sign_standard(WHSEC, own_id, seconds, body),
    }
    url = world.call("daemon.status")["gateway"]["url"] + "/hooks/sink"
    return httpx.post(url, content=body, headers=headers, trust_env=False).status_code


def test_a_providers_bounce_ends_the_run_however_often_it_is_told(base: World) -> None:
    mail = send(base, "bouncer", top="preset: contactually")
    told = {"idempotency_key": mail["idempotency_key"], "payload": {"type": "hard"}}
    assert hook(base, "b1", "bounce", forged=True, **told) == 401
    base.tick()
    assert base.run("bouncer", "bouncer")["status"] == "waiting"
    assert [hook(base, "b1", "bounce", **told) for _ in range(3)] == [200, 200, 200]
    logged(base, "bouncer", 1)
    rows = base.sql(
        "SELECT refused_reason FROM dripd.event_log WHERE dedup_key = 'sink:id:b1' ORDER BY id"
    )
    assert [row[0] for row in rows] == [None, "duplicate", "duplicate"]
    check = base.call("suppress.check", address="bouncer@x.test", account="acme")
    assert check["suppressed"] is True


def test_a_delivery_whose_outcome_was_unknown_is_proven_by_its_provider(base: World) -> None:
    base.sql(
        "INSERT INTO dripd.sink_rule (recipient_like, answer) VALUES ('doubt%', 'ambiguous')"
    )
    base.contact("doubt")
    base.apply(NEWS.format(track="{}", top="").replace("campaign: news", "campaign: doubt"))
    base.enroll("doubt", "doubt")
    base.tick()
    state = """SELECT d.state FROM dripd.delivery AS d JOIN dripd.enrollment AS e
               ON e.id = d.enrollment_id WHERE e.campaign_key = 'doubt' AND d.step_key = 'one'"""
    assert base.one(state) == "unknown"
    key = base.one(
        """SELECT d.idempotency_key FROM dripd.delivery AS d JOIN dripd.enrollment AS e
           ON e.id = d.enrollment_id WHERE e.campaign_key = 'doubt' AND d.step_key = 'one'"""
    )
    assert hook(base, "d1", "delivered", idempotency_key=key) == 200
    assert base.one(state) == "accepted"


def test_what_is_told_of_nothing_we_know_is_parked_and_found_later(base: World) -> None:
    address = {"address": "late@x.test", "payload": {"type": "hard"}}
    assert hook(base, "p1", "bounce", **address) == 200
    assert hook(base, "p2", "open", idempotency_key="dripd:other:1:1:x") == 200
    parked = "SELECT event_key FROM dripd.event_parked ORDER BY event_key"
    assert base.column(parked) == ["id:p1", "id:p2"]
    base.contact("late")
    until(lambda: base.column(parked) == ["id:p2"])
    logged(base, "late", 1)
    check = base.call("suppress.check", address="late@x.test", account="acme")
    assert check["suppressed"] is True


def test_a_reply_is_known_by_its_conversation(base: World) -> None:
    base.contact("talker")
    base.apply(NEWS.format(track="{}", top="").replace("campaign: news", "campaign: talker"))
    base.sql(
        "INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, "
        "conversation_ref) VALUES ('acme', 'talker', 'talker', 'chat-7')"
    )
    base.tick()
    talk = {"account": "acme", "conversation_ref": "chat-7"}
    assert hook(base, "r1", "reply", payload={"auto": True}, **talk) == 200
    logged(base, "talker", 1)
    assert base.run("talker", "talker")["status"] == "waiting"
    assert hook(base, "r2", "reply", **talk) == 200
    logged(base, "talker", 2)
    assert base.run("talker", "talker")["end_reason"] == "reply"


def inbound(world: World, password: str, **headers: str) -> int:
    """SendGrid's Inbound Parse posts a mail; the status of its answer."""
    url = world.call("daemon.status")["gateway"]["url"] + "/hooks/parse"
    head = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in headers.items())
    fields = {
        "headers": (None, head),
        "subject": (None, "Re: One"),
        "envelope": (None, '{"to": ["reply@parse.acme.test"], "from": "other@x.test"}'),
        "attachment1": ("photo.jpg", bytes(2_000_000)),
    }
    answer = httpx.post(url, files=fields, auth=("hook", password), trust_env=False)
    return answer.status_code


@pytest.mark.feature("S2")
def test_a_mail_that_comes_back_by_sendgrid_is_a_reply_once(base: World) -> None:
    mail = send(base, "writer", track="{}")
    ours = message_id(mail["idempotency_key"], "hello@acme.test")
    assert inbound(base, "guess", Message_ID="<1@x>", In_Reply_To=ours) == 401
    assert inbound(base, "a password", Message_ID="<2@x>", In_Reply_To="<1.2.3@else>") == 200
    away = {"Message_ID": "<3@x>", "In_Reply_To": ours, "Auto_Submitted": "auto-replied"}
    assert inbound(base, "a password", **away) == 200
    logged(base, "writer", 1)
    assert base.run("writer", "writer")["status"] == "waiting"
    reply = {"Message_ID": "<4@x>", "References": f"<0@x> {ours}"}
    assert [inbound(base, "a password", **reply) for _ in range(2)] == [200, 200]
    logged(base, "writer", 2)
    assert base.run("writer", "writer")["end_reason"] == "reply"


ACTING = """
campaign: {key}
account: acme
name: {key}
sender: hello@acme.test
fields: {{rep: text}}
steps:
  - {{key: one, do: email, subject: One, track: {{click: true}},
     html: "<a data-link=offer href='https://shop.test/'>Go</a>"}}
  - {{key: two, do: tag_add, delay: 30d, tag: late}}
on_click:
  - {{link: offer, do: list_add, list: clicked, create_if_missing: true}}
  - {{link: offer, do: update, ops: ["interests add bikes"]}}
  - {{link: offer, do: update, ops: ["clicks increment 1"]}}
  - {{link: offer, do: update, ops: ["firsts increment 1"], once_per: contact}}
  - {{link: offer, do: tag_add, tag: hot}}
  - {{link: offer, do: request, title: "Offer for {{First Name}}", assignee: ann, once_per: contact}}
  - {{link: offer, do: follow_up, title: "Call {{First Name}}", assignee: ann}}
on_form:
  - {{form: "{key}", do: tag_add, tag: signed-up}}
  - {{form: "{key}", do: update, ops: ["interests add forms"]}}
  - {{form: "{key}", do: list_add, list: [selected, project], create_if_missing: true}}
  - {{form: "{key}", do: update, ops: ["category set customer", "business set retail"]}}
  - {{form: "{key}", do: request, title: "Form of {{First Name}}", assignee: ann}}
  - {{form: "{key}", do: email, subject: "Thanks {{First Name}}", text: "We call {{First Name}}."}}
  - {{form: "{key}", do: notify_email, to: "{{Rep}}", subject: "{{First Name}} wrote", text: "Call {{phone}}"}}
"""


@pytest.mark.feature("F39")
def test_a_click_adds_to_lists_and_fields_each_in_its_way(base: World) -> None:
    base.contact("clicker")
    base.apply(ACTING.format(key="clicker"))
    base.enroll("clicker", "clicker")
    base.tick()
    (mail,) = base.sql("SELECT * FROM dripd.sink_message WHERE recipient = 'clicker@x.test'")
    url = unescape(re.findall("href='?\"?([^'\">]*)", mail["body"])[0])
    fetch("GET", url)
    logged(base, "clicker", 1)
    insert = """INSERT INTO dripd.event_in (account_id, delivery_id, kind, dedup_key, payload)
                SELECT account_id, $1, 'click', $2, '{"link": "offer"}' FROM dripd.sink_message
                WHERE recipient = 'clicker@x.test'"""
    for key in ("same", "same", "another"):
        base.sql(insert, f"{mail['enrollment_id']}-1", key)
    base.tick()
    attrs = json.loads(
        base.one("SELECT attrs FROM dripd.contact WHERE external_id = 'clicker'")
    )
    assert attrs["interests"] == ["bikes"]
    assert (attrs["clicks"], attrs["firsts"]) == (3, 1)
    places = """SELECT l.key FROM dripd.list_member AS m JOIN dripd.contact_list AS l
                ON l.account_id = m.account_id AND l.id = m.list_id
                JOIN dripd.contact AS c ON c.id = m.contact_id WHERE c.external_id = 'clicker'"""
    tags = """SELECT tag FROM dripd.contact_tag AS t JOIN dripd.contact AS c ON c.id = t.contact_id
              WHERE c.external_id = 'clicker'"""
    assert (base.column(places), base.column(tags)) == (["clicked"], ["hot"])
    tasks = """SELECT t.kind || ': ' || t.title FROM dripd.task AS t ORDER BY t.kind, t.id"""
    assert base.column(tasks) == ["follow_up: Call Ann"] * 3 + ["request: Offer for Ann"]
    insert_form = """INSERT INTO dripd.event_in (account_id, contact_id, kind, payload)
                     SELECT account_id, id, 'form', '{"form": "clicker"}' FROM dripd.contact
                     WHERE external_id = 'clicker'"""
    base.sql(insert_form)
    base.tick()
    assert sorted(base.column(tags)) == ["hot", "signed-up"]


@pytest.mark.feature("F1")
def test_actions_that_repeat_or_undo_the_flow_are_told(base: World) -> None:
    def warnings(action: str) -> list[str]:
        text = (
            "{campaign: f1, account: acme, name: f1, steps: [{key: a, do: list_add, list: L, "
            f"create_if_missing: true}}], on_click: [{{link: x, do: {action}, list: L}}]}}"
        )
        answer = base.call("campaign.validate", documents=[{"filename": "a", "text": text}])
        (item,) = answer["items"]
        assert item["ok"] is True
        return [warning["code"] for warning in item["warnings"]]

    assert warnings("list_add") == ["duplicate_action"]
    assert "conflicting_action" in warnings("list_remove")


@pytest.mark.feature("F38")
def test_a_form_has_all_its_effects_once_for_its_key(base: World) -> None:
    base.contact("filler", attrs='{"first_name": "Ann", "rep": "rep@acme.test"}')
    base.apply(ACTING.format(key="filler"))
    insert = """INSERT INTO dripd.event_in (account_id, contact_id, kind, dedup_key, payload)
                SELECT account_id, id, 'form', 'form-1', '{"form": "filler"}'
                FROM dripd.contact WHERE external_id = 'filler'"""
    base.sql(insert)
    base.sql(insert)
    base.tick()
    attrs = json.loads(base.one("SELECT attrs FROM dripd.contact WHERE external_id = 'filler'"))
    assert attrs == {
        "first_name": "Ann",
        "rep": "rep@acme.test",
        "interests": ["forms"],
        "category": "customer",
        "business": "retail",
    }
    places = """SELECT l.key FROM dripd.list_member AS m JOIN dripd.contact_list AS l
                ON l.account_id = m.account_id AND l.id = m.list_id
                JOIN dripd.contact AS c ON c.id = m.contact_id
                WHERE c.external_id = 'filler' ORDER BY 1"""
    assert base.column(places) == ["project", "selected"]
    tasks = """SELECT t.title FROM dripd.task AS t JOIN dripd.contact AS c ON c.id = t.contact_id
               WHERE t.kind = 'request' AND c.external_id = 'filler'"""
    assert base.column(tasks) == ["Form of Ann"]
    mails = base.sql("SELECT * FROM dripd.sink_message WHERE recipient = 'filler@x.test'")
    assert [(row["subject"], row["enrollment_id"]) for row in mails] == [("Thanks Ann", None)]
    sent = "SELECT state FROM dripd.delivery WHERE to_address = 'filler@x.test'"
    assert base.column(sent) == ["accepted"]
    told = base.sql("SELECT * FROM dripd.sink_message WHERE recipient = 'rep@acme.test'")
    assert [(row["subject"], row["body"]) for row in told] == [
        ("Ann wrote", "Call +49301234567")
    ]


@pytest.mark.feature("F38")
def test_a_notice_to_nobody_is_none_and_a_reply_to_one_is_nobodys(base: World) -> None:
    base.contact("quiet")
    base.contact("told", attrs='{"first_name": "Ann", "rep": "eve@acme.test"}')
    base.sql("INSERT INTO dripd.suppression (channel, address, reason, account_id) "
             "SELECT 'email', 'eve@acme.test', 'asked', id FROM dripd.account")  # fmt: skip
    base.apply(
        """
campaign: notices
account: acme
name: Notices
fields: {rep: text}
steps: [{key: wait, do: tag_add, delay: 9d, tag: late}]
on_form:
  - {form: notices, do: notify_email, to: "{Rep}", subject: S, text: T, once_per: contact}
"""
    )
    base.enroll("notices", "quiet", "told")
    base.tick()
    for _ in range(2):
        base.sql(
            "INSERT INTO dripd.event_in (account_id, contact_id, kind, payload) "
            "SELECT account_id, id, 'form', '{\"form\": \"notices\"}' FROM dripd.contact "
            "WHERE external_id IN ('quiet', 'told')"
        )
        base.tick()
    (notice,) = base.sql(
        "SELECT id, state FROM dripd.delivery WHERE to_address = 'eve@acme.test'"
    )
    assert notice["state"] == "accepted"
    base.sql(
        "INSERT INTO dripd.event_in (account_id, delivery_id, kind) "
        "SELECT id, $1, 'reply' FROM dripd.account",
        notice["id"],
    )
    base.tick()
    assert base.run("told", "notices")["status"] == "waiting"
    assert base.column("SELECT kind FROM dripd.journal WHERE kind = 'call_failed'") == []
