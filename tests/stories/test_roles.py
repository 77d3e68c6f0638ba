"""Who may act in an account: admins, members, viewers, owners, and whose addresses they see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dripd.errors import DripdError
from tests.stories.world import World

MAIL = """
campaign: {key}
account: acme
name: {key}
owner: {owner}
sender: {sender}
steps:
  - {{key: a, do: email, subject: Hi, text: Hello}}
  - {{key: b, do: email, delay: 5d, subject: Hi, text: Again}}
"""


def mail(key: str, owner: str = "own", sender: str = "hello@acme.test") -> str:
    return MAIL.format(key=key, owner=owner, sender=sender)


def refusal(world: World, method: str, **params: object) -> str:
    """The code with which a call is refused; "" where it is not."""
    try:
        world.call(method, **params)
    except DripdError as error:
        return error.code
    return ""


def forbidden(world: World) -> list[tuple[str, str]]:
    """(actor, method) of every refusal in the journal."""
    rows = world.sql(
        """SELECT actor, detail ->> 'method' AS method FROM dripd.journal
           WHERE kind = 'forbidden' ORDER BY at, actor, method"""
    )
    return [(row[0], row[1]) for row in rows]


@pytest.fixture
def office(world: World) -> Iterator[World]:
    """Account acme with an admin, the owner of a campaign, another member and a viewer."""
    for name, role in (
        ("boss", "admin"),
        ("own", "member"),
        ("mate", "member"),
        ("vic", "viewer"),
    ):
        world.call("operator.set", name=name, account="acme", role=role)
    world.apply(mail("welcome"))
    return world


@pytest.mark.feature("M50")
@pytest.mark.feature("M51")
@pytest.mark.feature("M52")
def test_admins_change_every_campaign_owners_their_own_and_viewers_none(office: World) -> None:
    changed = mail("welcome").replace("Again", "Once more")
    documents = [{"filename": "a.yaml", "text": changed}]
    verbs = ("publish", "pause", "deactivate", "drain", "activate", "resume", "archive")
    office.call("campaign.apply", documents=documents, account="acme", **{"as": "own"})
    for name in ("mate", "vic"):
        acts = {"as": name, "account": "acme"}
        for verb in verbs:
            code = refusal(office, f"campaign.{verb}", key="welcome", yes=True, **acts)
            assert code == "forbidden", (name, verb)
        other = [{"filename": "a.yaml", "text": mail("welcome")}]
        assert refusal(office, "campaign.apply", documents=other, **acts) == "forbidden"
        office.call("campaign.list", **acts)
        office.call("campaign.stats", key="welcome", **acts)
        faulty = [{"filename": "a.yaml", "text": mail("welcome").replace("email", "emial")}]
        for key in ("welcome", "fresh"):
            unread = [{**one, "text": one["text"].replace("welcome", key)} for one in faulty]
            code = refusal(office, "campaign.apply", documents=unread, **acts)
            may = (name, key) == ("mate", "fresh")
            assert code == ("unknown_kind" if may else "forbidden"), (name, key)
    assert office.one("SELECT status FROM dripd.campaign") == "active"
    assert len(forbidden(office)) == 2 * (len(verbs) + 1) + 3
    told = (
        "SELECT DISTINCT actor, detail ->> 'target' FROM dripd.journal WHERE kind = 'forbidden'"
    )
    assert {tuple(row) for row in office.sql(told)} == {
        ("mate", "welcome"), ("vic", "welcome"), ("vic", "acme"),
    }  # fmt: skip
    office.call("campaign.publish", key="welcome", account="acme", **{"as": "own"})
    for name in ("mate", "vic"):
        code = refusal(
            office, "campaign.publish", key="welcome", account="acme", **{"as": name}
        )
        assert code == "forbidden", "without a draft too"
    office.call("campaign.pause", key="welcome", account="acme", **{"as": "boss"})

    assert office.one("SELECT live_version FROM dripd.campaign") == 2
    assert office.one("SELECT status FROM dripd.campaign") == "paused"
    lacking = [{"filename": "a.yaml", "text": mail("lacking").replace("subject: Hi, ", "")}]
    office.call("campaign.apply", documents=lacking, account="acme", **{"as": "own"})
    for verb in ("publish", "activate"):
        asked = {"key": "lacking", "account": "acme", "yes": True}
        assert refusal(office, f"campaign.{verb}", **asked, **{"as": "vic"}) == "forbidden"
        code = refusal(office, f"campaign.{verb}", **asked, **{"as": "own"})
        assert code == "missing_settings:a", verb


@pytest.mark.feature("M52")
def test_runs_of_others_campaigns_are_stopped_by_who_may_change_them(office: World) -> None:
    office.contact("ann")
    office.contact("bob")
    office.enroll("welcome", "ann", "bob")
    office.tick()
    for name in ("mate", "vic"):
        code = refusal(
            office, "enroll.stop", campaign=["welcome"], account="acme", **{"as": name}
        )
        assert code == "forbidden", name
    timeline = office.call("contact.timeline", contact="ann", account="acme", **{"as": "vic"})
    assert timeline["items"]
    assert office.run("ann", "welcome")["status"] == "waiting"
    office.call("enroll.stop", contact=["ann"], account="acme", **{"as": "own"})

    assert office.run("ann", "welcome")["end_reason"] == "stopped"
    assert [actor for actor, method in forbidden(office) if method == "enroll.stop"] == [
        "mate", "vic",
    ]  # fmt: skip


@pytest.mark.feature("M40")
@pytest.mark.feature("M52")
def test_a_viewer_enrolls_where_the_address_is_everybodys(office: World) -> None:
    for key, shared in (("all", "account"), ("own", "mate")):
        address = f"{key}@acme.test"
        office.call("sender.set", address=address, account="acme", owner="own", shared=shared)
        office.apply(mail(key, sender=address))
    office.contact("ann")
    decided = {
        (key, name): office.call(
            "enroll.add", campaign=key, contacts=["ann"], account="acme", **{"as": name}
        )["items"][0]["reject_reason"]
        for key, name in (("all", "vic"), ("own", "vic"), ("own", "mate"))
    }

    assert decided == {
        ("all", "vic"): None,
        ("own", "vic"): "not_visible",
        ("own", "mate"): None,
    }
    assert refusal(office, "contact.add", external_id="x", account="acme", **{"as": "vic"})


@pytest.mark.feature("M50")
def test_what_concerns_every_account_is_for_admins_of_each(office: World) -> None:
    office.call("account.set", key="quiet")  # it has no operators
    acts = [
        ("daemon.pause", {"all": True, "reason": "storm", "yes": True}),
        ("daemon.resume", {"all": True, "reason": "over"}),
        ("clock.advance", {"by": "1h"}),
        ("clock.set", {"to": "2026-02-01T00:00:00Z"}),
        ("logs.level", {"level": "info"}),
        ("config.reload", {}),
    ]
    before = office.one("SELECT dripd.now()")
    for name in ("own", "vic", "stranger"):
        codes = {refusal(office, method, **args, **{"as": name}) for method, args in acts}
        assert codes == {"forbidden"}, name
    assert office.one("SELECT dripd.now()") == before
    assert office.column("SELECT DISTINCT status FROM dripd.account") == ["active"]
    for method, args in acts[:3]:
        assert refusal(office, method, **args, **{"as": "boss"}) == "", method


def test_only_admins_of_an_account_change_who_acts_in_it(office: World) -> None:
    for name in ("own", "vic", "nobody"):
        code = refusal(
            office, "operator.set", name=name, account="acme", role="admin", **{"as": name}
        )
        assert code == "forbidden", name
    office.call("operator.set", name="own", account="acme", role="admin", **{"as": "boss"})


def test_an_account_without_operators_lets_everybody_act(world: World) -> None:
    world.apply(mail("welcome"))
    world.call("campaign.pause", key="welcome", account="acme", **{"as": "anybody"})

    assert world.one("SELECT status FROM dripd.campaign") == "paused"


@pytest.mark.feature("M53")
@pytest.mark.feature("M5")
@pytest.mark.feature("M4")
def test_a_board_is_seen_by_who_has_access_to_it(office: World) -> None:
    for board in ("leads", "deals"):
        office.call("list.set", key=board, account="acme", kind="board")
        office.apply(mail(f"on-{board}") + f"board: {board}\n")
    office.call("operator.set", name="mate", account="acme", boards=["leads"])

    def keys(**more: object) -> list[str]:
        items = office.call("campaign.list", account="acme", **more)["items"]
        return sorted(item["key"] for item in items)

    assert keys(board="leads") == ["on-leads"]
    assert keys(board="leads", **{"as": "mate"}) == ["on-leads"]
    assert keys(board="deals", **{"as": "boss"}) == ["on-deals"]
    acts = {"as": "mate", "account": "acme", "board": "deals"}
    assert refusal(office, "campaign.list", **acts) == "forbidden"
    assert keys(**{"as": "mate"}) == ["on-deals", "on-leads", "welcome"]
    assert forbidden(office) == [("mate", "campaign.list")]


@pytest.mark.feature("M40")
def test_contacts_are_enrolled_by_who_sees_the_campaign(office: World) -> None:
    office.call(
        "sender.set", address="team@acme.test", account="acme", owner="chief", shared="mate"
    )
    office.call("operator.set", name="other", account="acme")
    office.call("operator.set", name="chief", account="acme")
    office.apply(mail("shared", sender="team@acme.test"))
    askers = ("own", "chief", "mate", "other", "boss", None)

    def ask(round_no: int) -> dict[str | None, str | None]:
        for name in askers:
            office.contact(f"{name}{round_no}")
            office.sql(
                """INSERT INTO dripd.enroll_request
                   (account_key, campaign_key, external_id, requested_by)
                   VALUES ('acme', 'shared', $1, $2)""",
                *(f"{name}{round_no}", name),
            )
        office.tick()
        rows = office.sql(
            """SELECT requested_by, reject_reason FROM dripd.enroll_request
               WHERE external_id LIKE '%' || $1""",
            str(round_no),
        )
        return {row[0]: row[1] for row in rows}

    assert ask(1) == {**dict.fromkeys(askers), "other": "not_visible"}

    def command(contact: str, **more: object) -> object:
        office.contact(contact)
        answer = office.call(
            "enroll.add", campaign="shared", account="acme", contacts=[contact], **more
        )
        return answer["items"][0]["reject_reason"]

    assert command("by-root") is None
    assert command("by-mate", **{"as": "mate"}) is None
    assert command("by-other", **{"as": "other"}) == "not_visible"
    assert command("by-nobody", **{"as": "nobody"}) == "not_visible"
    office.call("sender.set", address="team@acme.test", account="acme", shared="account")
    office.tick()
    assert ask(2) == dict.fromkeys(askers)


@pytest.mark.feature("M43")
def test_automations_need_an_address_shared_with_the_whole_account(office: World) -> None:
    office.call("list.set", key="new", account="acme")
    office.call(
        "sender.set", address="team@acme.test", account="acme", owner="chief", shared="mate"
    )
    office.apply(mail("shared", sender="team@acme.test"))
    trigger = {"campaign": "shared", "account": "acme", "on": "list_added", "list": "new"}

    assert refusal(office, "campaign.trigger_add", **trigger, **{"as": "mate"}) == "not_visible"
    assert office.sql("SELECT FROM dripd.campaign_trigger") == []
    office.call("sender.set", address="team@acme.test", account="acme", shared="account")
    office.call("campaign.trigger_add", **trigger, **{"as": "mate"})

    assert len(office.sql("SELECT FROM dripd.campaign_trigger")) == 1
    assert ("mate", "campaign.trigger_add") in forbidden(office)


@pytest.mark.feature("M59")
def test_operators_with_edit_right_hear_of_an_edit_that_ends_runs(office: World) -> None:
    office.call("operator.set", name="second", account="acme", role="admin")
    for n in range(20):
        office.contact(f"c{n}")
    office.enroll("welcome", *[f"c{n}" for n in range(20)])
    office.tick()
    documents = [{"filename": "a.yaml", "text": mail("welcome").replace("Again", "New")}]
    office.call("campaign.apply", documents=documents, account="acme")
    publish = {"key": "welcome", "account": "acme", "inflight": "terminate", "as": "own"}

    assert refusal(office, "campaign.publish", **publish) == "confirm:20"
    assert office.one("SELECT count(*) FROM dripd.notification") == 0
    assert office.one("SELECT live_version FROM dripd.campaign") == 1
    office.call("campaign.publish", **publish, yes=True)
    rows = office.sql(
        "SELECT recipient, kind, payload FROM dripd.notification ORDER BY recipient"
    )

    assert [row[0] for row in rows] == ["boss", "own", "second"]
    assert {row[1] for row in rows} == {"edited"}
    for row in rows:
        assert '"own"' in row[2]
        assert "20" in row[2]
    assert office.column("SELECT DISTINCT end_reason FROM dripd.enrollment") == ["edited"]
