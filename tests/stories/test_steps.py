"""Stories of steps: mixed kinds, delays that reset, chains, messages."""

from __future__ import annotations

import json

import pytest

from dripd.clock import DAY, parse_instant
from dripd.errors import DefinitionError
from tests.stories.world import World

WAIT = """
campaign: wait
account: acme
name: Wait
sender: hello@acme.test
steps:
  - {key: late, do: tag_add, tag: late, delay: 5d, reset_on_interaction: RESET}
"""


@pytest.mark.feature("C1")
def test_a_campaign_mixes_automatic_and_manual_steps(world: World) -> None:
    world.contact("c1")
    world.apply("""
campaign: mix
account: acme
name: Mix
sender: hello@acme.test
steps:
  - {key: one, do: email, subject: One, text: One}
  - {key: call, do: custom_task, delay: 1d, title: Call}
  - {key: two, do: email, delay: 1d, subject: Two, text: Two}
""")
    world.enroll("mix", "c1")
    world.tick()
    world.advance("1d")
    world.advance("1d")
    assert len(world.sent()) == 2
    assert world.one("SELECT count(*) FROM dripd.task WHERE kind = 'custom'") == 1
    assert [(s["step_key"], s["outcome"]) for s in world.steps("c1")] == [
        ("one", "done"),
        ("call", "done"),
        ("two", "done"),
    ]
    assert world.run("c1", "mix")["status"] == "completed"


@pytest.mark.feature("C2")
def test_a_campaign_without_contacts_waits_for_them(world: World) -> None:
    world.contact("c1")
    world.apply(WAIT.replace("RESET", "false"))
    world.advance("30d")
    assert world.one("SELECT count(*) FROM dripd.delivery") == 0
    assert world.column("SELECT DISTINCT kind FROM dripd.journal ORDER BY 1") == [
        "activated",
        "edited",
    ]
    world.enroll("wait", "c1")
    world.tick()
    asked = world.sql("SELECT status, inserted_at FROM dripd.enroll_request")[0]
    assert asked["status"] == "accepted"
    assert world.run("c1", "wait")["started_at"] == asked["inserted_at"]


@pytest.mark.feature("C10")
def test_an_unknown_kind_of_step_is_refused(world: World) -> None:
    with pytest.raises(DefinitionError) as caught:
        world.apply("""
campaign: beam
account: acme
name: Beam
steps:
  - {key: up, do: teleport}
""")
    fault = caught.value.faults[0]
    assert fault.code == "unknown_kind"
    assert "up" in f"{fault.path} {fault.message}"
    assert "teleport" in fault.message
    assert world.one("SELECT count(*) FROM dripd.campaign") == 0


@pytest.mark.feature("C11")
def test_a_delay_counts_from_the_finish_of_the_step_before(world: World) -> None:
    world.contact("c1")
    world.apply("""
campaign: slow
account: acme
name: Slow
steps:
  - {key: first, do: tag_add, tag: first}
  - {key: second, do: tag_add, tag: second, delay: 3d}
""")
    world.enroll("slow", "c1")
    world.tick()
    finished = world.steps("c1")[0]["finished_at"]
    assert (world.run("c1", "slow")["due_at"] - finished).total_seconds() == 72 * 3600
    world.at("2026-01-08T08:59:59Z")
    assert len(world.steps("c1")) == 1
    world.advance("1s")
    assert [s["step_key"] for s in world.steps("c1")] == ["first", "second"]


@pytest.mark.feature("C12")
def test_steps_without_delay_follow_at_once(world: World) -> None:
    world.contact("c1")
    steps = [{"key": f"s{n}", "do": "tag_add", "tag": f"t{n}"} for n in range(5)]
    world.apply(
        json.dumps({"campaign": "chain", "account": "acme", "name": "Chain", "steps": steps})
    )
    world.enroll("chain", "c1")
    world.tick()
    done = world.steps("c1")
    assert [s["step_key"] for s in done] == ["s0", "s1", "s2", "s3", "s4"]
    assert {s["outcome"] for s in done} == {"done"}
    assert {s["finished_at"] for s in done} == {world.one("SELECT dripd.now()")}
    assert world.run("c1", "chain")["status"] == "completed"


@pytest.mark.feature("C13")
def test_interactions_do_not_move_a_step_without_the_flag(world: World) -> None:
    world.contact("c1")
    world.apply(WAIT.replace("RESET", "false"))
    world.enroll("wait", "c1")
    world.tick()
    for _ in range(2):
        world.advance("2d")
        world.event("c1", "interaction")
        world.tick()
    world.at("2026-01-10T08:59:59Z")
    assert not world.steps("c1")
    world.advance("1s")
    assert len(world.steps("c1")) == 1


@pytest.mark.feature("C14")
def test_an_interaction_starts_the_wait_anew(world: World) -> None:
    world.contact("c1")
    world.apply(WAIT.replace("RESET", "true"))
    world.enroll("wait", "c1")
    for day in ("07", "11"):
        world.at(f"2026-01-{day}T09:00:00Z")
        world.event("c1", "interaction")
        world.tick()
    world.at("2026-01-12T09:00:00Z")
    assert not world.steps("c1")
    world.at("2026-01-16T08:59:59Z")
    assert not world.steps("c1")
    world.advance("1s")
    assert len(world.steps("c1")) == 1
    first, second = (
        json.loads(d)
        for d in world.column(
            "SELECT detail FROM dripd.journal WHERE kind = 'delay_reset' ORDER BY at"
        )
    )
    assert first["new_due_ms"] - first["old_due_ms"] == 2 * DAY
    assert second["old_due_ms"] == first["new_due_ms"]
    assert second["new_due_ms"] == parse_instant("2026-01-16T09:00:00Z")


@pytest.mark.feature("C15")
def test_only_logged_communication_starts_the_wait_anew(world: World) -> None:
    world.contact("c1")
    world.apply(WAIT.replace("RESET", "true"))
    world.apply("""
campaign: other
account: acme
name: Other
sender: hello@acme.test
steps:
  - {key: hi, do: email, subject: Hi, text: Hi}
""")
    world.enroll("wait", "c1")
    world.tick()
    due = world.run("c1", "wait")["due_at"]
    world.advance("12h")
    world.enroll("other", "c1")
    world.tick()
    assert len(world.sent()) == 1
    assert world.run("c1", "wait")["due_at"] == due
    world.at("2026-01-08T09:00:00Z")
    for _ in range(2):
        world.event("c1", "interaction", at="2026-01-06T09:00:00Z", key="call-1")
        world.tick()
    assert (world.run("c1", "wait")["due_at"] - due).total_seconds() == 24 * 3600
    assert world.one("SELECT count(*) FROM dripd.journal WHERE kind = 'delay_reset'") == 1


@pytest.mark.feature("C17")
def test_an_email_step_sends_one_email(world: World) -> None:
    world.contact("c1", email="ann@x.test")
    world.apply("""
campaign: mail
account: acme
name: Mail
sender: hello@acme.test
steps:
  - {key: hi, do: email, subject: Hi, text: Hi}
""")
    world.enroll("mail", "c1")
    world.tick()
    assert [(m["channel"], m["recipient"]) for m in world.sent()] == [("email", "ann@x.test")]
    assert world.column("SELECT state FROM dripd.delivery") == ["accepted"]


WAITS = """
campaign: {key}
account: acme
name: {key}
sender: hello@acme.test
fields: {{visit: date}}
steps:
  - {{key: first, {step}}}
  - {{key: then, do: email, subject: Hi, text: Hi}}
"""


@pytest.mark.feature("D6")
@pytest.mark.parametrize(
    ("step", "chain"),
    [
        ("do: delay, delay: 2d", [("due", True, "its delay has not passed")]),
        ("do: date_timer, field: visit", [("due", True, "its date has not come")]),
        (
            "do: wait_for, on: click, timeout: 2d, then: then, else: then",
            [("due", True, "it waits for click")],
        ),
        (
            "do: wait_for, delay: 1d, on: click, then: then, else: then",
            [("due", True, "its delay has not passed")],
        ),
        (
            "do: wait_for, on: click, then: then, else: then",
            [("due", False, "it waits for click")],
        ),
        (
            "do: task, title: T, blocking: true, timeout: 2d",
            [("task", True, "a person has to close its task: dripd task list")],
        ),
    ],
)
def test_explain_names_what_a_run_waits_for(
    world: World, step: str, chain: list[tuple[str, bool, str]]
) -> None:
    """Each gate as its name, whether its end can be told, and its words."""
    world.contact("c1", attrs='{"first_name": "Ann", "visit": "2026-02-01"}')
    world.apply(WAITS.format(key="waits", step=step))
    world.enroll("waits", "c1")
    world.advance("1m")

    (told,) = world.call("contact.explain", contact="c1")["enrollments"]
    gates = [(one["gate"], one["until"] is not None, one["detail"]) for one in told["chain"]]
    assert gates == chain
    assert (told["ready_at"] is not None) == all(told for _, told, _ in chain)
