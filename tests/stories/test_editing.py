"""Editing a campaign that runs: drafts, versions, and what becomes of who is in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from dripd.errors import BadRequest, DefinitionError, DripdError
from tests.stories.world import World


def mails(*keys: str, edit: str = "", wait: str = "1d", key: str = "c") -> str:
    """A campaign of mails, a day apart, whose subjects are their keys."""
    steps = "\n".join(
        f"  - {{key: {one}, do: email, delay: {'0' if n == 0 else wait}, subject: {one}, text: x}}"
        for n, one in enumerate(keys)
    )
    policy = f"policy: {{edit: {{{edit}}}}}\n" if edit else ""
    return f"campaign: {key}\naccount: acme\nname: {key}\nsender: hello@acme.test\n{policy}steps:\n{steps}\n"


def publish(world: World, text: str, **more: object) -> dict[str, object]:
    """Store a draft and publish it."""
    documents = [{"filename": "a.yaml", "text": text}]
    world.call("campaign.apply", documents=documents, account="acme")
    answer: dict[str, object] = world.call("campaign.publish", key="c", account="acme", **more)
    return answer


def refused(world: World, text: str, **more: object) -> str:
    try:
        publish(world, text, **more)
    except DripdError as error:
        return error.code
    return ""


def subjects(world: World, contact: str) -> list[str]:
    return world.column(
        "SELECT subject FROM dripd.sink_message WHERE recipient = $1 ORDER BY received_at, id",
        f"{contact}@x.test",
    )


def start(world: World, *contacts: str) -> None:
    for contact in contacts:
        world.contact(contact)
    world.enroll("c", *contacts)
    world.tick()


@pytest.mark.feature("C40")
@pytest.mark.feature("M13")
def test_steps_that_change_places_run_so_for_who_comes_after(world: World) -> None:
    world.apply(mails("a", "b", "d"))
    start(world, "old")
    publish(world, mails("a", "d", "b"))
    start(world, "new")
    world.advance("10d")

    assert subjects(world, "old") == ["a", "b", "d"]
    assert subjects(world, "new") == ["a", "d", "b"]


@pytest.mark.feature("M14")
def test_a_copied_step_is_a_step_of_its_own(world: World) -> None:
    world.apply(mails("a", "b"))
    copy = mails("a", "b", "b2").replace("subject: b2", "subject: b")
    publish(world, copy)
    start(world, "ann")
    world.advance("10d")
    steps = world.call("campaign.stats", key="c", account="acme")["steps"]

    assert subjects(world, "ann") == ["a", "b", "b"]
    assert [(step["step_key"], step["sent"]) for step in steps] == [
        ("a", 1),
        ("b", 1),
        ("b2", 1),
    ]
    with pytest.raises(DefinitionError):
        publish(world, mails("a", "b", "b"))


@pytest.mark.feature("M15")
@pytest.mark.feature("F4")
@pytest.mark.feature("C19")
@pytest.mark.feature("M37")
def test_a_draft_may_lack_what_an_active_campaign_must_have(world: World) -> None:
    text = (
        "campaign: c\naccount: acme\nname: C\npreset: monday\nnotify: {ended: true}\n"
        "board: leads\nexit_rules: [{on: reply}]\nsteps:\n  - {key: a, do: email, template: hello}\n"
    )
    documents = [{"filename": "a.yaml", "text": text}]
    stored = world.call("campaign.apply", documents=documents, account="acme")["items"][0]
    judged = world.call("campaign.validate", documents=documents, account="acme")["items"][0]
    wanted = {
        "missing:sender",
        "missing:board",
        "missing:notify.field",
        "missing_template:hello",
    }

    assert {one["code"] for one in stored["warnings"]} >= wanted
    assert sorted(one["code"] for one in judged["faults"]) == sorted(wanted)
    world.contact("ann")
    world.enroll("c", "ann")
    world.tick()
    assert world.one("SELECT reject_reason FROM dripd.enroll_request") == "not_active"
    with pytest.raises(DefinitionError) as refusal:
        world.call("campaign.activate", key="c", account="acme")
    assert {fault.code for fault in refusal.value.faults} >= wanted
    world.call("list.set", key="leads", account="acme", kind="board")
    full = text.replace("notify: {ended: true}", "notify: {ended: true, field: rep}")
    full += "sender: hello@acme.test\ntemplates:\n  hello: {subject: Hi, text: Hello}\n"
    world.apply(full)

    assert world.one("SELECT status FROM dripd.campaign") == "active"


@pytest.mark.feature("S16")
def test_limits_hold_for_an_edit_too(world: World) -> None:
    nine = mails(*[f"m{n}" for n in range(9)]).replace(
        "steps:", "preset: smarter_contact\nsteps:"
    )
    ten = mails(*[f"m{n}" for n in range(10)]).replace(
        "steps:", "preset: smarter_contact\nsteps:"
    )
    world.apply(nine)
    with pytest.raises(DefinitionError) as refusal:
        publish(world, ten)

    assert [fault.code for fault in refusal.value.faults] == ["max_messages"]
    assert "10" in refusal.value.faults[0].message
    assert world.one("SELECT live_version FROM dripd.campaign") == 1


@pytest.mark.feature("M48")
def test_a_drained_campaign_is_inactive_once_its_last_run_has_ended(world: World) -> None:
    world.apply(mails("a", "b"))
    start(world, *[f"s{n}" for n in range(15)])
    late = [f"n{n}" for n in range(5)]
    for contact in late:
        world.contact(contact)
    world.sql(
        """INSERT INTO dripd.enroll_request (account_key, campaign_key, external_id, start_at)
           SELECT 'acme', 'c', unnest($1::text[]), dripd.now() + interval '2h'""",
        late,
    )
    world.tick()
    done = world.call("enroll.stop", campaign=["c"], account="acme", not_started=True, yes=True)
    assert done["changed"] == 5
    world.call("campaign.drain", key="c", account="acme", yes=True)
    world.contact("late")
    world.enroll("c", "late")
    world.tick()
    assert (
        world.one("SELECT reject_reason FROM dripd.enroll_request WHERE external_id = 'late'")
        == "not_active"
    )
    assert world.one("SELECT status FROM dripd.campaign") == "draining"
    world.advance("3d")

    counts = world.sql("SELECT status, count(*) FROM dripd.enrollment GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in counts] == [("completed", 15), ("terminated", 5)]
    assert world.one("SELECT status FROM dripd.campaign") == "inactive"
    world.call("campaign.activate", key="c", account="acme")
    start(world, "last")
    world.call("campaign.drain", key="c", account="acme", yes=True)
    world.call("enroll.stop", contact=["last"], account="acme")
    assert world.one("SELECT status FROM dripd.campaign") == "inactive", "by a stop too"


def waiting(world: World) -> list[tuple[object, ...]]:
    rows = world.sql(
        "SELECT version, step_key, status, count(*) FROM dripd.enrollment GROUP BY 1, 2, 3"
    )
    return sorted(tuple(row) for row in rows)


def test_live_runs_pass_to_the_new_version_by_the_key_of_their_step(world: World) -> None:
    world.apply(mails("a", "b", "d"))
    start(world, "one", "two")
    before = world.run("one", "c")["due_at"]
    text = mails("a", "x", "b", "d").replace("subject: b", "subject: better")

    assert refused(world, text, inflight="migrate") == "confirm:2"
    answer = publish(world, text, inflight="migrate", yes=True)
    assert answer["inflight"] == {"pin": 0, "terminate": 0, "migrate": 2}
    assert waiting(world) == [(2, "b", "waiting", 2)]
    assert world.run("one", "c")["due_at"] == before
    world.advance("10d")

    assert subjects(world, "one") == ["a", "better", "d"]


def test_a_step_that_was_taken_out_leads_to_the_next_that_is_left(world: World) -> None:
    world.apply(mails("a", "b", "d"))
    start(world, "ann")
    publish(world, mails("a", "d"), inflight="migrate", yes=True)
    assert waiting(world) == [(2, "d", "waiting", 1)]
    publish(world, mails("a"), inflight="migrate", yes=True)

    assert waiting(world) == [(2, None, "completed", 1)]
    world.advance("10d")
    assert subjects(world, "ann") == ["a"]


def test_a_map_that_would_send_again_or_leads_nowhere_is_refused(world: World) -> None:
    world.apply(mails("a", "b", "d"))
    start(world, "ann")

    def answer(keys: str, **given: str) -> str:
        text = mails(*keys).replace("text: x", "text: y")
        return refused(world, text, map=given, inflight="migrate", yes=True)

    assert answer("bad") == "would_resend:a"
    assert answer("abd", b="a") == "would_resend:a"
    assert answer("abd", b="zz") == "bad_request"
    assert answer("abd", zz="b") == "bad_request"
    assert world.one("SELECT live_version FROM dripd.campaign") == 1
    assert waiting(world) == [(1, "b", "waiting", 1)]


def test_a_plan_foretells_where_runs_go_and_what_publishing_would_refuse(world: World) -> None:
    world.apply(mails("a", "b", "d"))
    start(world, "ann", "bob")

    def plan(keys: str, **more: object) -> tuple[list[str], list[tuple[str, str | None, int]]]:
        documents = [{"filename": "f", "text": mails(*keys).replace("text: x", "text: y")}]
        told = world.call("campaign.plan", documents=documents, account="acme", **more)
        moves = [(one["step"], one["to"], one["n"]) for one in told["moves"]]
        return [fault["code"] for fault in told["faults"]], moves

    assert plan("bad", inflight="migrate") == (["would_resend:a"], [("b", "b", 2)])
    assert plan("abd", map={"b": "a"}) == (["would_resend:a"], [("b", "a", 2)])
    assert plan("abd", map={"b": "d"}) == ([], [("b", "d", 2)])
    assert plan("a", inflight="migrate") == ([], [("b", None, 2)])
    assert plan("bad", inflight="pin") == ([], [])
    with pytest.raises(BadRequest):
        plan("abd", map={"b": "zz"})
    assert waiting(world) == [(1, "b", "waiting", 2)]

    locked = mails("a", "b", "d").replace("steps:", "policy: {edit: {active: locked}}\nsteps:")
    publish(world, locked, inflight="pin")
    world.contact("cy")
    world.enroll("c", "cy")
    world.tick()
    assert plan("abd")[0] == ["active"]


def test_a_map_leads_runs_to_where_they_are_to_go_on(world: World) -> None:
    world.apply(mails("a", "b", "d"))
    start(world, "ann")
    publish(world, mails("a", "b", "d", "e"), map={"b": "e"}, yes=True)
    world.advance("10d")

    assert subjects(world, "ann") == ["a", "e"]


def test_what_is_held_stays_held_where_its_step_stays(world: World) -> None:
    world.apply(mails("a", "b").replace("subject: b", 'subject: "Hi {City}"'))
    start(world, "ann")
    world.advance("2d")
    assert world.run("ann", "c")["hold_reason"] == "missing_tag:City"
    text = mails("a", "b", "d").replace("subject: b", 'subject: "Hi {City}"')
    publish(world, text, inflight="migrate", yes=True)
    world.tick()  # it comes up once in the new version
    run = world.run("ann", "c")

    assert (run["version"], run["hold_reason"]) == (2, "missing_tag:City")
    world.sql('UPDATE dripd.contact SET attrs = attrs || \'{"city": "Oslo"}\'')
    world.advance("5d")
    assert subjects(world, "ann") == ["a", "Hi Oslo", "d"]


def test_what_the_new_version_lacks_no_more_goes_on(world: World) -> None:
    world.apply(mails("a", "b").replace("subject: b", 'subject: "Hi {City}"'))
    start(world, "ann")
    world.advance("2d")
    assert world.run("ann", "c")["hold_reason"] == "missing_tag:City"
    publish(world, mails("a", "b"), inflight="migrate", yes=True)
    world.tick()

    assert subjects(world, "ann") == ["a", "b"]
    told = world.sql(
        "SELECT kind FROM dripd.journal WHERE detail ->> 'reason' = 'missing_tag:City' ORDER BY at"
    )
    assert [kind for (kind,) in told] == ["held", "released"]


def asking(*keys: str) -> str:
    """As `mails`, of which all but the first must be approved."""
    text = mails(*keys)
    for key in keys[1:]:
        text = text.replace(f"subject: {key},", f"subject: {key}, require_approval: true,")
    return text


def asked(world: World) -> list[tuple[int, str, str]]:
    rows = world.sql("SELECT id, step_key, state FROM dripd.task ORDER BY id")
    return [tuple(row) for row in rows]


def test_what_was_asked_of_a_step_that_was_taken_out_is_no_answer_for_the_next(
    world: World,
) -> None:
    world.apply(asking("a", "b", "d"))
    start(world, "ann")
    world.advance("2d")
    publish(world, asking("a", "d"), inflight="migrate", yes=True)
    world.tick()

    assert [(key, state) for _, key, state in asked(world)] == [
        ("b", "cancelled"),
        ("d", "open"),
    ]
    assert world.run("ann", "c")["hold_reason"] == "approval"
    world.call("task.done", id=asked(world)[-1][0])
    world.tick()
    assert subjects(world, "ann") == ["a", "d"]


def test_nobody_is_asked_about_a_run_that_has_nothing_more_to_do(world: World) -> None:
    world.apply(asking("a", "b"))
    start(world, "ann")
    world.advance("2d")
    publish(world, asking("a"), inflight="migrate", yes=True)

    assert waiting(world) == [(1, None, "completed", 1)]
    assert [(key, state) for _, key, state in asked(world)] == [("b", "cancelled")]


def test_what_held_a_step_that_was_taken_out_does_not_hold_the_next(world: World) -> None:
    rarely = "policy: {frequency: {per_contact: 1/5d}}\nsteps:"
    world.apply(mails("a", "b", "d", "e").replace("steps:", rarely))
    start(world, "ann")
    world.advance("2d")
    assert world.run("ann", "c")["hold_reason"] == "frequency"
    publish(world, mails("a", "d", "e"), inflight="migrate", yes=True)
    world.tick()

    assert subjects(world, "ann") == ["a", "d"]
    run = world.run("ann", "c")
    assert (run["step_key"], run["status"], run["hold_reason"]) == ("e", "waiting", None)


def test_what_was_charged_for_steps_that_are_gone_goes_back_at_the_end(world: World) -> None:
    world.call("account.set", key="acme", prices={"email": "1"})
    world.call("account.deposit", key="acme", amount="10")
    paid = mails("a", "b", "d").replace("steps:", "policy: {billing: upfront}\nsteps:")
    world.apply(paid)
    start(world, "ann")
    publish(
        world, mails("a", "d").replace("steps:", "policy: {billing: upfront}\nsteps:"),
        inflight="migrate", yes=True,
    )  # fmt: skip
    world.advance("10d")

    assert world.call("account.show", key="acme")["balance"] == "8"
    assert world.sql("SELECT * FROM dripd.ledger_fault") == []


@pytest.mark.feature("M47")
def test_no_enrollment_slips_in_on_the_old_version_while_it_is_replaced(world: World) -> None:
    world.apply(mails("a", "b", edit="inflight: terminate"))
    names = [f"c{n}" for n in range(400)]
    world.sql(
        "INSERT INTO dripd.contact (account_id, external_id, email) SELECT id, n, n || '@x.test' "
        "FROM dripd.account, unnest($1::text[]) AS n WHERE key = 'acme'",
        names,
    )
    text = mails("a", "b", edit="inflight: terminate").replace("subject: b", "subject: better")
    world.call(
        "campaign.apply", documents=[{"filename": "a.yaml", "text": text}], account="acme"
    )

    def edit() -> object:
        return world.call("campaign.publish", key="c", account="acme", yes=True)

    with ThreadPoolExecutor(1) as pool:
        world.enroll("c", *names[:50])
        edited = pool.submit(edit)
        for at in range(50, 390, 10):
            world.enroll("c", *names[at : at + 10])
        edited.result()
    world.enroll("c", *names[390:])
    world.tick()
    rows = world.sql("SELECT version, end_reason, count(*) FROM dripd.enrollment GROUP BY 1, 2")
    counts = {(row[0], row[1]): row[2] for row in rows}

    assert set(counts) <= {(1, "edited"), (2, None)}
    assert sum(counts.values()) == 400
    assert counts[2, None] >= 10


@pytest.mark.feature("X1")
def test_who_passes_to_a_version_that_is_not_exclusive_is_free_for_others(
    world: World,
) -> None:
    """Also who waits for it; a run that stays in its version keeps its contact busy."""
    busy = "policy: {{exclusivity: {{scope: account, on_busy: {}}}}}\n"
    free = "policy: {exclusivity: none}\n"
    holds = "campaign: c\naccount: acme\nname: C\nsender: hello@acme.test\n"
    steps = "steps:\n  - {key: a, do: email, delay: 3d, subject: A, text: A}\n"
    waits = holds.replace("campaign: c", "campaign: waits").replace("name: C", "name: Waits")
    world.apply(holds + busy.format("reject") + steps)
    world.apply(waits + busy.format("queue") + steps)
    world.contact("c1")
    world.enroll("c", "c1")
    world.tick()
    world.enroll("waits", "c1")
    world.tick()

    def live() -> list[str]:
        return world.column("SELECT campaign_key FROM dripd.enrollment "
                            "WHERE status = 'waiting' ORDER BY id")  # fmt: skip

    assert live() == ["c"]
    publish(world, holds + free + steps, inflight="migrate", yes=True)
    world.tick()
    assert live() == ["c", "waits"]
