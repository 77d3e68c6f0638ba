"""Words that the campaigns of an account share, kept as published or followed as they change."""

from __future__ import annotations

import asyncpg
import pytest

from dripd.errors import BadRequest, Conflict, DefinitionError, NotFound
from tests.stories.world import World

CAMPAIGN = """
campaign: %s
account: acme
name: %s
sender: hello@acme.test
policy: {content: %s}
steps:
  - {key: own, do: email, subject: Own, text: Mine}
  - {key: one, do: email, template: hello, delay: 1d}
  - {key: two, do: email, template: hello, delay: 1d}
"""


def written(key: str, content: str) -> str:
    return CAMPAIGN % (key, key, content)


def share(world: World, subject: str, text: str = "Hello", key: str = "hello") -> None:
    """Another system edits a template of the account."""
    world.sql(
        "INSERT INTO dripd.template (account_id, key, subject, text) "
        "SELECT id, $2, $3, $4 FROM dripd.account WHERE key = $1 ON CONFLICT (account_id, key) "
        "DO UPDATE SET subject = excluded.subject, text = excluded.text",
        *("acme", key, subject, text),
    )


def got(world: World, contact: str) -> list[str]:
    """The subjects that reached a contact, in order."""
    return [row["subject"] for row in world.sent() if row["recipient"] == f"{contact}@x.test"]


@pytest.mark.feature("F5")
def test_shared_words_stay_as_published_unless_the_campaign_follows_them(world: World) -> None:
    share(world, "Old {First Name}")
    for key in ("pinned", "live"):
        world.apply(written(key, key))
        world.contact(key)
        world.enroll(key, key)
    world.at("2026-01-06T09:00:00Z")
    share(world, "New {First Name}")
    world.at("2026-01-07T09:00:00Z")

    assert got(world, "pinned") == ["Own", "Old Ann", "Old Ann"]
    assert got(world, "live") == ["Own", "Old Ann", "New Ann"]

    world.restart()
    share(world, "Unfit {{x")
    for key in ("pinned", "live"):
        world.contact(f"{key}2")
        world.enroll(key, f"{key}2")
    world.at("2026-01-08T09:00:00Z")
    assert got(world, "pinned2") == ["Own", "Old Ann"]
    assert got(world, "live2") == ["Own", "Old Ann"]
    assert "template.unfit" in world.log()

    share(world, "Newest")
    documents = [
        {"filename": "x.yaml", "text": written(key, key)} for key in ("pinned", "live")
    ]
    plan = world.call("campaign.plan", documents=documents[:1], account="acme")
    assert ("Old {First Name}", "Newest") in {
        (one["old"], one["new"]) for one in plan["changes"]
    }
    items = world.call("campaign.apply", documents=documents, account="acme")["items"]
    assert [(one["changed"], one["draft"]) for one in items] == [(True, True), (False, False)]
    assert (
        world.call("campaign.plan", key="pinned", account="acme")["changes"] == plan["changes"]
    )
    done = world.call("campaign.publish", key="pinned", account="acme")
    assert (done["version"], done["changed"]) == (2, True)
    again = world.call("campaign.apply", documents=documents, account="acme")
    assert not again["changed"]
    world.contact("pinned3")
    world.enroll("pinned", "pinned3")
    world.at("2026-01-09T09:00:00Z")
    assert got(world, "pinned2") == ["Own", "Old Ann", "Old Ann"]
    assert got(world, "live2") == ["Own", "Old Ann", "Newest"]
    world.at("2026-01-10T09:00:00Z")
    assert got(world, "pinned3") == ["Own", "Newest", "Newest"]


@pytest.mark.feature("F5")
@pytest.mark.feature("C19")
def test_a_shared_template_is_looked_for_and_judged_as_the_files_own(world: World) -> None:
    world.apply(written("c", "pinned"), activate=False)
    with pytest.raises(DefinitionError) as missing:
        world.call("campaign.activate", key="c", account="acme")
    assert {one.code for one in missing.value.faults} == {"missing_template:hello"}
    for subject, text, code, path in (
        ("Hi {{x", "x", "bad_value", "steps[1].template.subject"),
        ("Hi {Nothing}", "x", "unknown_field:Nothing", "steps[1].template.subject"),
        ("Hi", "", "missing_settings:one", "steps[1]"),
    ):
        share(world, subject, text)
        with pytest.raises(DefinitionError) as unfit:
            world.call("campaign.activate", key="c", account="acme")
        assert (code, path) in {(one.code, one.path) for one in unfit.value.faults}
    with pytest.raises(BadRequest):
        world.call("campaign.template_set", key="hello", account="acme", subject="Hi {{x")
    made = world.call("campaign.template_set", key="hello", account="acme", text="Hello")
    assert (made["created"], made["changed"], made["subject"]) == (False, True, "Hi")
    world.call("campaign.activate", key="c", account="acme")

    again = world.call("campaign.template_set", key="hello", account="acme", text="Hello")
    assert not again["changed"]
    share(world, "Unfit {{x")
    world.call("campaign.deactivate", key="c", account="acme", yes=True)
    world.call("campaign.activate", key="c", account="acme")
    share(world, "Hi")
    (listed,) = world.call("campaign.template_list", account="acme")["items"]
    assert (listed["account_key"], listed["key"]) == ("acme", "hello")
    shown = world.call("campaign.template_show", key="hello", account="acme")
    assert (shown["subject"], shown["text"], shown["html"]) == ("Hi", "Hello", "")
    with pytest.raises(NotFound):
        world.call("campaign.template_show", key="helo", account="acme")


@pytest.mark.feature("F5")
@pytest.mark.feature("M19")
def test_a_template_that_names_what_nobody_has_is_doubted(world: World) -> None:
    def doubted(**words: str) -> list[tuple[str, str, str]]:
        done = world.call("campaign.template_set", key="hello", account="acme", **words)
        return [(one["code"], one["path"], one["hint"]) for one in done["warnings"]]

    declare = "declare it: `fields: {KEY: text}`"
    found = doubted(subject="Hi {Frist Name}", text="{Plot} {City}", html="<p>{Plot|none}</p>")
    assert [
        ("unknown_field:Frist Name", "subject", "did you mean 'first_name'?"),
        ("unknown_field:Plot", "text", declare),
        ("unknown_field:Plot", "html", declare),
    ] == found
    assert [
        ("unknown_field:Plot", "text", declare),
        ("unknown_field:Plot", "html", declare),
    ] == (doubted(subject="Hi {First Name}"))
    (unfit,) = world.call(
        "campaign.validate", documents=[{"filename": "x", "text": written("c", "pinned")}]
    )["items"]
    assert {("unknown_field:Plot", "steps[1].template.text")} <= {
        (one["code"], one["path"]) for one in unfit["faults"]
    }
    world.apply(written("c", "pinned") + "fields: {plot: text}", activate=False)
    assert [] == doubted(text="{Plot} {City} {Unsubscribe Link}")
    world.apply(written("c", "pinned").replace("hello", "other"), activate=False)
    world.contact("ann", attrs='{"plot": "7"}')
    assert [] == doubted(subject="Hi {plot}")
    world.sql("UPDATE dripd.contact SET attrs = '{}'")
    assert ("unknown_field:plot", "subject", declare) in doubted(subject="Hi {plot}")
    world.sql(
        "INSERT INTO dripd.field (account_id, key, type) "
        "SELECT id, 'plot', 'text' FROM dripd.account WHERE key = 'acme'"
    )
    assert [] == doubted()


@pytest.mark.feature("F5")
def test_a_template_is_removed_once_nobody_uses_it(world: World) -> None:
    def remove(key: str = "hello", **more: bool) -> object:
        return world.call("campaign.template_remove", key=key, account="acme", **more)

    share(world, "Hi")
    share(world, "Spare", key="spare")
    world.apply(written("live", "live"))
    world.apply(written("draft", "pinned"), activate=False)
    own = (
        written("own", "pinned").replace("hello", "hello2")
        + "templates: {hello2: {subject: S, text: T}}"
    )
    share(world, "Theirs", key="hello2")
    world.apply(own, activate=False)
    assert remove("spare") == {"changed": True, "campaigns": []}
    assert remove("hello2") == {"changed": True, "campaigns": []}
    with pytest.raises(NotFound):
        remove("spare")
    with pytest.raises(Conflict, match="used by draft, live") as used:
        remove()
    assert used.value.code == "in_use"

    world.contact("ann")
    world.enroll("live", "ann")
    world.tick()
    world.apply(
        "{campaign: live, account: acme, name: live, steps: [{key: a, do: tag_add, tag: t}]}",
        activate=False,
    )
    world.call("campaign.publish", key="live", account="acme", yes=True)
    with pytest.raises(Conflict, match="used by draft, live"):  # by the run of version 1
        remove()
    assert remove(force=True) == {"changed": True, "campaigns": ["draft", "live"]}
    world.advance("2d")
    assert got(world, "ann") == ["Own", "Hi", "Hi"]
    with pytest.raises(DefinitionError):
        world.call("campaign.publish", key="draft", account="acme")


@pytest.mark.feature("F5")
def test_a_template_is_written_by_who_may_write_its_account(world: World) -> None:
    world.account("other")
    other = world.one("SELECT id FROM dripd.account WHERE key = 'other'")
    world.sql("CREATE ROLE template_writer LOGIN IN ROLE dripd_writer")
    try:
        world.sql("UPDATE dripd.account SET writer = 'dripd_owner' WHERE key = 'other'")
        world.sql("SET SESSION AUTHORIZATION template_writer")
        share(world, "Mine")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            world.sql("INSERT INTO dripd.template (account_id, key) VALUES ($1, 'x')", other)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            world.sql("UPDATE dripd.template SET updated_at = now()")
    finally:
        world.sql("RESET SESSION AUTHORIZATION")
        world.sql("DROP ROLE template_writer")
    assert world.column("SELECT subject FROM dripd.template") == ["Mine"]
