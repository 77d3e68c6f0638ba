"""From a file to a running campaign, over the admin methods."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from dripd.campaigns.document import load_documents
from dripd.errors import BadRequest, Conflict, DefinitionError, NotFound, StoreError
from tests.support.control import START, WELCOME, Control, open_control

pytestmark = pytest.mark.trio

LOCKED = WELCOME.replace("name: Welcome", "name: Welcome\npolicy: {edit: {active: locked}}")
ENDING = WELCOME.replace(
    "name: Welcome", "name: Welcome\npolicy: {edit: {inflight: terminate}}"
)


async def published(control: Control, text: str, *contacts: str) -> None:
    await control.furnish(*contacts)
    await control.apply(text)
    await control.do("campaign.publish", key="welcome", yes=True)


@pytest.mark.feature("C38")
async def test_file_with_faults_stores_nothing_and_lists_them_all(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        before = await control.do("campaign.show", key="welcome")
        bad = WELCOME.replace("delay: 3d", "delay: soon").replace(
            "do: email, subject", "do: emial, subject"
        )
        with pytest.raises(DefinitionError) as refused:
            await control.do(
                "campaign.apply",
                documents=[
                    {"filename": "a.yaml", "text": WELCOME.replace("welcome", "other")},
                    {"filename": "b.yaml", "text": bad},
                ],
            )

        assert {fault.code for fault in refused.value.faults} >= {"bad_value", "unknown_kind"}
        assert all(fault.path.startswith("b.yaml: ") for fault in refused.value.faults)
        assert await control.do("campaign.show", key="welcome") == before
        with pytest.raises(NotFound):
            await control.do("campaign.show", key="other")


@pytest.mark.feature("M20")
async def test_draft_leaves_the_live_version_alone(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        done = await control.apply(WELCOME.replace("3d", "5d"))
        shown = await control.do("campaign.show", key="welcome")

        assert done["items"][0]["draft"] is True
        assert (shown["live_version"], shown["has_draft"]) == (1, True)
        assert shown["definition"]["steps"][1]["delay"] == "3d"
        assert (await control.do("enroll.show", enrollment=run))["status"] == "waiting"


@pytest.mark.feature("M49")
async def test_saving_without_a_change_makes_no_version(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        applied = await control.apply()
        done = await control.do("campaign.publish", key="welcome")

        assert applied["items"][0]["changed"] is False
        assert (done["changed"], done["version"]) == (False, 1)
        assert await control.one("SELECT count(*) FROM dripd.campaign_version") == 1


async def test_going_back_to_the_live_version_drops_the_draft(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        await control.apply(WELCOME.replace("3d", "5d"))
        back = await control.apply()

        assert (back["items"][0]["changed"], back["items"][0]["draft"]) == (True, False)


@pytest.mark.feature("C6")
async def test_name_is_required_and_goal_is_shown(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        with pytest.raises(DefinitionError) as refused:
            await control.apply(WELCOME.replace("name: Welcome\n", ""))
        await control.apply(WELCOME.replace("name: Welcome", "name: W\ngoal_text: Book a demo"))
        await control.do("campaign.publish", key="welcome")

        assert [fault.code for fault in refused.value.faults] == ["name_required"]
        stats = await control.do("campaign.stats", key="welcome")
        assert (stats["name"], stats["goal_text"]) == ("W", "Book a demo")


@pytest.mark.feature("M22")
async def test_email_campaign_without_a_sender_is_not_activated(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        applied = await control.apply(WELCOME.replace("sender: sales@acme.test\n", ""))
        with pytest.raises(DefinitionError) as refused:
            await control.do("campaign.activate", key="welcome")

        assert "missing:sender" in {one["code"] for one in applied["items"][0]["warnings"]}
        assert [fault.code for fault in refused.value.faults] == ["missing:sender"]
        assert (await control.do("campaign.show", key="welcome"))["status"] == "draft"


@pytest.mark.feature("M6")
async def test_second_campaign_of_a_name_is_a_warning(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        done = await control.apply(WELCOME.replace("campaign: welcome", "campaign: other"))

        assert "duplicate_name" in {one["code"] for one in done["items"][0]["warnings"]}


async def test_validate_never_raises_and_knows_the_account(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        done = await control.do(
            "campaign.validate",
            documents=[
                {"filename": "a.yaml", "text": WELCOME},
                {"filename": "b.yaml", "text": "campaign: [oops"},
                {"filename": "c.yaml", "text": WELCOME.replace("acme", "nobody")},
            ],
        )

        assert done["ok"] is False
        codes = [{one["code"] for one in item["faults"]} for item in done["items"]]
        assert codes == [{"missing:sender"}, {"bad_value"}, set()]
        assert done["items"][0]["changed"] is True
        (warning,) = done["items"][2]["warnings"]
        assert ("not_found", "account") == (warning["code"], warning["path"])
        assert "dripd account set nobody" == warning["hint"]


async def test_fields_that_contacts_carry_may_be_named(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        text = WELCOME.replace("text: Hello", 'text: "Hello {Shoe size}"')
        with pytest.raises(DefinitionError) as refused:
            await control.apply(text)
        await control.do("contact.add", external_id="c1", attrs={"shoe_size": 42})
        await control.apply(text)

        assert [fault.code for fault in refused.value.faults] == ["unknown_field:Shoe size"]


@pytest.mark.feature("S19")
async def test_locked_campaign_is_not_published_over_live_runs(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await published(control, LOCKED, "c1")
        await control.start("c1")
        await control.apply(LOCKED.replace("3d", "5d"))
        with pytest.raises(Conflict) as refused:
            await control.do("campaign.publish", key="welcome", yes=True)

        assert refused.value.code == "active"
        assert (await control.do("campaign.show", key="welcome"))["live_version"] == 2


@pytest.mark.feature("M47")
@pytest.mark.feature("M59")
async def test_publish_that_ends_runs_asks_ends_and_tells(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await published(control, ENDING, "c1", "c2")
        await control.do("operator.set", name="ann", role="admin")
        await control.do("operator.set", name="bob")
        await control.do("operator.set", name="vic", role="viewer")
        runs = [await control.start(contact) for contact in ("c1", "c2")]
        await control.apply(ENDING.replace("3d", "5d"))
        with pytest.raises(Conflict) as refused:
            await control.do("campaign.publish", key="welcome")
        assert refused.value.code == "confirm:2"
        assert (await control.do("campaign.stats", key="welcome"))["active"] == 2
        done = await control.do("campaign.publish", key="welcome", yes=True)

        assert (done["version"], done["inflight"]["terminate"]) == (3, 2)
        shown = [await control.do("enroll.show", enrollment=run) for run in runs]
        assert {(one["status"], one["end_reason"]) for one in shown} == {
            ("terminated", "edited")
        }
        told = (await control.do("notification.list"))["items"]
        assert {row["recipient"] for row in told} == {"ann"}, (
            "bob is a member, and not the owner"
        )
        assert told[0]["payload"]["count"] == 2
        assert await control.one("SELECT count(*) FROM dripd.due_step") == 0


async def test_publish_ends_a_run_that_an_open_admit_starts(pg_dsn: str) -> None:
    """The run is started under the old version, and committed later."""
    async with open_control(pg_dsn) as control:
        await published(control, ENDING, "c1")
        await control.apply(ENDING.replace("3d", "5d"))
        query = START
        for n, value in enumerate(("c1", "welcome", "0", "1 hour"), start=1):
            query = query.replace(f"${n}::", f"'{value}'::")
        query = query.replace("$5::", "NULL::").replace("$6::", "NULL::")
        async with trio.open_nursery() as nursery:
            share = "DO $$ BEGIN PERFORM 1 FROM dripd.campaign FOR SHARE; END $$; "
            await nursery.start(control.hold, share + query)
            done = await control.do("campaign.publish", key="welcome", yes=True)

        assert done["inflight"]["terminate"] == 1
        stats = await control.do("campaign.stats", key="welcome")
        assert (stats["enrolled"], stats["active"], stats["terminated"]) == (1, 0, 1)


async def test_pinned_runs_stay_on_their_version(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        await control.apply(WELCOME.replace("3d", "5d"))
        done = await control.do("campaign.publish", key="welcome")

        assert done["inflight"] == {"pin": 1, "terminate": 0, "migrate": 0}
        assert (await control.do("enroll.show", enrollment=run))["version"] == 1


async def test_plan_says_what_publish_would_do(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await published(control, ENDING, "c1")
        await control.start("c1")
        nothing = await control.do("campaign.plan", key="welcome")
        text = ENDING.replace("3d", "5d")
        planned = await control.do(
            "campaign.plan", documents=[{"filename": "a.yaml", "text": text}]
        )

        assert (nothing["changes"], nothing["confirm"]) == ([], False)
        assert planned["changes"] == [
            {"op": "~", "step": "nudge", "path": "steps[1].delay", "old": "3d", "new": "5d"}
        ]
        assert (planned["live"], planned["confirm"]) == (1, True)
        assert planned["inflight"] == {"pin": 0, "terminate": 1, "migrate": 0}
        assert (await control.do("campaign.show", key="welcome"))["has_draft"] is False


@pytest.mark.feature("M38")
async def test_activation_from_two_sides_is_one_line_of_the_journal(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("sender.set", address="sales@acme.test")
        await control.apply()
        answers: list[Any] = []

        async def activate() -> None:
            answers.append(await control.do("campaign.activate", key="welcome"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(activate)
            nursery.start_soon(activate)

        assert {one["status"] for one in answers} == {"active"}
        assert (
            await control.one("SELECT count(*) FROM dripd.journal_log WHERE kind = 'activated'")
            == 1
        )


@pytest.mark.feature("M21")
async def test_deactivation_holds_and_activation_goes_on(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        run = await control.start("c1")
        off = await control.do("campaign.deactivate", key="welcome")
        held = await control.do("enroll.show", enrollment=run)
        on = await control.do("campaign.activate", key="welcome")

        assert (off["status"], off["live"], off["removed"]) == ("inactive", 1, 0)
        assert (held["status"], held["hold_reason"]) == ("held", "inactive")
        assert on["status"] == "active"
        assert (await control.do("enroll.show", enrollment=run))["status"] == "waiting"


@pytest.mark.feature("S20")
async def test_pause_may_remove_everybody(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        text = LOCKED.replace("policy: {", "policy: {pause: remove_all, ")
        await published(control, text, "c1", "c2")
        runs = [await control.start(contact) for contact in ("c1", "c2")]
        done = await control.do("campaign.pause", key="welcome", yes=True)
        await control.apply(text.replace("3d", "5d"))
        edited = await control.do("campaign.publish", key="welcome")
        await control.do("campaign.resume", key="welcome")

        assert (done["status"], done["removed"], done["live"]) == ("paused", 2, 0)
        assert edited["changed"] is True
        shown = [await control.do("enroll.show", enrollment=run) for run in runs]
        assert {(one["status"], one["end_reason"]) for one in shown} == {("removed", "paused")}


async def test_drained_campaign_is_inactive_when_its_last_run_ends(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        await control.start("c1")
        drained = await control.do("campaign.drain", key="welcome")
        with pytest.raises(Conflict) as refused:
            await control.do("campaign.archive", key="welcome")
        await control.do("enroll.stop", contact=["c1"])

        assert drained["status"] == "draining"
        assert refused.value.code == "active"
        assert (await control.do("campaign.show", key="welcome"))["status"] == "inactive"
        assert (await control.do("campaign.archive", key="welcome"))["status"] == "archived"
        with pytest.raises(Conflict) as over:
            await control.do("campaign.activate", key="welcome")
        assert "apply its file under another key" == over.value.hint


async def test_resume_can_keep_what_remained_of_a_delay(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        text = WELCOME.replace("name: Welcome", "name: Welcome\npolicy: {on_resume: shift}")
        await control.rows("INSERT INTO dripd.clock (at) VALUES ('2026-01-01T00:00:00Z')")
        await published(control, text, "c1")
        run = await control.start("c1", due_in="2 days")
        await control.do("campaign.pause", key="welcome")
        await control.rows("UPDATE dripd.clock SET at = '2026-01-11T00:00:00Z'")
        await control.do("campaign.resume", key="welcome")

        due = (await control.do("enroll.show", enrollment=run))["due_at"]
        assert due == "2026-01-13T00:00:00Z"


@pytest.mark.feature("Q7")
async def test_what_a_version_declares_the_helpers_know(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.do("account.set", key="acme")
        await control.do("sender.set", address="sales@acme.test")
        declared = "name: Welcome\nfields: {appt: datetime, n: number}"
        await control.apply(WELCOME.replace("name: Welcome", declared))
        fields = "SELECT key, type FROM dripd.field ORDER BY key"
        assert await control.rows(fields) == []  # a draft declares nothing
        await control.rows("INSERT INTO dripd.field SELECT id, 'n', 'text' FROM dripd.account")
        await control.do("campaign.publish", key="welcome")
        told = [(row["key"], row["type"]) for row in await control.rows(fields)]
        with pytest.raises(StoreError, match="no datetime"):
            await control.rows(
                "SELECT dripd.upsert_contact('acme', 'c9', attrs => '{\"appt\": \"soon\"}')"
            )

        assert told == [("appt", "datetime"), ("n", "text")]


async def test_a_call_may_shift_the_delays_this_once(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.rows("INSERT INTO dripd.clock (at) VALUES ('2026-01-01T00:00:00Z')")
        await published(control, WELCOME, "c1")
        run = await control.start("c1", due_in="2 days")
        for day, stop, go in ((11, "pause", "resume"), (21, "deactivate", "activate")):
            await control.do(f"campaign.{stop}", key="welcome")
            await control.rows(f"UPDATE dripd.clock SET at = '2026-01-{day}T00:00:00Z'")
            await control.do(f"campaign.{go}", key="welcome", mode="shift")

            due = (await control.do("enroll.show", enrollment=run))["due_at"]
            assert due == f"2026-01-{day + 2}T00:00:00Z"


@pytest.mark.feature("S20")
async def test_a_pause_names_what_becomes_of_live_runs(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await published(control, WELCOME, "c1", "c2")
        for contact in ("c1", "c2"):
            await control.start(contact)
        held = await control.do("campaign.pause", key="welcome")
        with pytest.raises(Conflict, match="mode remove_all"):
            await control.do("campaign.pause", key="welcome", mode="remove_all")

        assert (held["mode"], held["live"], held["removed"]) == ("hold", 2, 0)
        assert "mode" not in await control.do("campaign.resume", key="welcome")


@pytest.mark.feature("C43")
@pytest.mark.feature("C55")
async def test_trigger_is_one_from_either_side(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish("c1")
        await control.do("list.set", key="more")
        await control.start("c1")
        one = await control.do(
            "campaign.trigger_add", campaign="welcome", on="list_added", list_="more"
        )
        other = await control.do("list.trigger_add", list_="more", campaign="welcome")
        shown = await control.do("campaign.show", key="welcome")

        assert (one["changed"], other["changed"]) == (True, False)
        assert other["id"] == one["id"]
        assert shown["live_version"] == 1
        assert (await control.do("campaign.stats", key="welcome"))["active"] == 1
        assert {row["origin"] for row in shown["triggers"]} == {"file", "command"}
        await control.do("list.trigger_remove", list_="more", campaign="welcome")
        assert (
            len((await control.do("campaign.trigger_list", campaign="welcome"))["items"]) == 1
        )


@pytest.mark.feature("C55")
async def test_trigger_in_the_file_is_no_edit_of_the_steps(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        ending = WELCOME.replace(
            "name: Welcome", "name: W\npolicy: {edit: {inflight: terminate}}"
        )
        await control.furnish("c1")
        await control.apply(ending)
        await control.do("campaign.publish", key="welcome")
        await control.start("c1")
        more = ending.replace(
            "list: new-leads}", "list: new-leads}\n  - {on: tag_added, tag: hot}"
        )
        await control.apply(more)
        plan = await control.do("campaign.plan", key="welcome")
        done = await control.do("campaign.publish", key="welcome", yes=False)
        await control.apply(more.replace("name: W\n", "name: Wider\n"))
        edit = await control.do("campaign.plan", key="welcome")

        assert (plan["confirm"], plan["inflight"]["terminate"]) == (False, 0)
        assert done["inflight"] == {"pin": 1, "terminate": 0, "migrate": 0}
        assert (await control.do("campaign.stats", key="welcome"))["active"] == 1
        assert (edit["confirm"], edit["inflight"]["terminate"]) == (True, 1)


async def test_trigger_command_is_read_as_a_file_is(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        with pytest.raises(BadRequest):
            await control.do("campaign.trigger_add", campaign="welcome", on="tag_added")
        with pytest.raises(BadRequest):
            await control.do("campaign.trigger_add", campaign="welcome", on="reply", tag="x")
        with pytest.raises(NotFound):
            await control.do("list.trigger_add", list_="ghost", campaign="welcome")


async def test_trigger_that_stays_in_the_file_keeps_its_place_in_time(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        query = "SELECT id, after_event_id FROM dripd.campaign_trigger ORDER BY id"
        before = await control.rows(query)
        await control.do("contact.add", external_id="c1")
        more = "list: new-leads}\n  - {on: tag_added, tag: hot}"
        await control.apply(WELCOME.replace("list: new-leads}", more))
        await control.do("campaign.publish", key="welcome")
        after = await control.rows(query)

        assert [dict(row) for row in after[:1]] == [dict(row) for row in before]
        assert after[1]["after_event_id"] > before[0]["after_event_id"]


@pytest.mark.feature("M4")
@pytest.mark.feature("M5")
async def test_campaigns_are_listed_by_account_and_board(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        await control.do("list.set", key="leads", kind="board")
        for key in ("one", "two"):
            text = WELCOME.replace("campaign: welcome", f"campaign: {key}\nboard: leads")
            await control.apply(text)
        every = await control.do("campaign.list", account="acme")
        mine = await control.do("campaign.list", board="leads")

        assert len(every["items"]) == 3
        assert [row["key"] for row in mine["items"]] == ["one", "two"]


async def test_export_reads_back_as_the_same_definition(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        exported = await control.do("campaign.export", key="welcome")

        assert load_documents(exported["text"]) == [exported["definition"]]
        assert exported["text"].startswith("campaign: welcome\naccount: acme\nname: Welcome\n")
        done = await control.apply(exported["text"])
        assert done["items"][0]["changed"] is False


async def test_show_names_who_gave_each_policy(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        await control.apply(
            LOCKED.replace("name: Welcome", "name: Welcome\npreset: contactually")
        )
        await control.do("campaign.publish", key="welcome")
        policy = (await control.do("campaign.show", key="welcome", policy=True))["policy"]

        assert policy["edit"] == {
            "value": {"active": "locked", "inflight": "pin"},
            "from": "file",
        }
        assert policy["reentry"] == {"value": "after_end", "from": "preset"}
        assert policy["min_gap"] == {"value": "0s", "from": "default"}


async def test_versions_can_be_compared(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        await control.apply(WELCOME.replace("3d", "5d"))
        await control.do("campaign.publish", key="welcome")
        changes = await control.do("campaign.diff", key="welcome", from_=1, to=2)
        none = await control.do("campaign.diff", key="welcome")

        assert [one["path"] for one in changes["changes"]] == ["steps[1].delay"]
        assert none["changes"] == []


@pytest.mark.feature("C39")
async def test_deleted_step_leaves_the_old_version_readable(pg_dsn: str) -> None:
    async with open_control(pg_dsn) as control:
        await control.furnish()
        shorter = WELCOME[: WELCOME.index("  - {key: nudge")]
        await control.apply(shorter)
        await control.do("campaign.publish", key="welcome")
        old = await control.do("campaign.show", key="welcome", version=1)
        new = await control.do("campaign.show", key="welcome")

        assert [len(one["definition"]["steps"]) for one in (old, new)] == [2, 1]
        assert await control.one("SELECT count(*) FROM dripd.version_step") == 3


async def test_publish_completes_no_run_whose_step_is_being_leased(pg_dsn: str) -> None:
    """The run was called completed, and its step was sent; whatever followed it was sent too."""
    shorter = WELCOME[: WELCOME.index("  - {key: nudge")]
    async with open_control(pg_dsn) as control:
        await control.furnish("c1", "c2")
        leased, waits = [await control.start(one) for one in ("c1", "c2")]
        await control.rows("UPDATE dripd.due_step SET step_no = 1")
        await control.apply(shorter)
        lease = f"UPDATE dripd.due_step SET claim_id = 77 WHERE enrollment_id = {leased}"
        async with trio.open_nursery() as nursery:
            await nursery.start(control.hold, lease)
            await control.do("campaign.publish", key="welcome", inflight="migrate", yes=True)

        rows = await control.rows(
            "SELECT r.id, r.status, d.claim_id FROM dripd.run AS r "
            "LEFT JOIN dripd.due_step AS d ON d.enrollment_id = r.id ORDER BY r.id"
        )
        assert [(leased, 1, 77), (waits, 2, None)] == [(*row.values(),) for row in rows]
