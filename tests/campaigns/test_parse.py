"""A file is read into what it means, or every fault of it is named under a path that exists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dripd.campaigns.definition import Content, Exclusivity, ExitRule, Match, Op, Step
from dripd.campaigns.document import load_documents
from dripd.campaigns.kinds import KINDS
from dripd.campaigns.known import Known
from dripd.campaigns.ops import parse_op
from dripd.campaigns.parse import parse, read
from dripd.campaigns.settings import parse_window
from dripd.campaigns.validate import check
from dripd.campaigns.window import WindowSpec
from dripd.clock import DAY, HOUR
from dripd.errors import DefinitionError, Fault
from dripd.scheduler.due import Delay, Timing

WELCOME = """
campaign: welcome
account: acme
name: Welcome
goal_text: Book a demo
class: marketing
fields: {appointment_at: datetime, interests: multi}
field_map: {email: attrs.work_email}
owner: ann
board: leads
sender: sales@acme.test
timezone: Europe/Berlin
window:
  {days: [mon, tue, wed, thu, fri], from: "09:00", to: 17:00, holidays: [DE-BE, 2026-12-27]}
triggers:
  - {on: list_added, list: new-leads}
  - {on: status_changed, field: status, to: Interested}
exit_rules:
  - {on: reply, set: {status: Engaged}, notify: true}
  - {on: bounce, enabled: false}
goal: {on: tag_added, tag: Appointment made}
notify: {field: rep, ended: true}
policy:
  exclusivity: {scope: "group:sales", on_busy: queue}
  reentry: {mode: after_end, min_gap: 2d, max_runs: 3}
  edit: {active: locked}
  frequency: {per_contact: 2/1d}
  blocking: {custom_task: true}
  on_unable: skip
steps:
  - {key: hello, do: email, template: hello}
  - key: nudge
    do: email
    delay: 3d
    send_at: "09:00"
    subject: "Hi {First Name}"
    text: "Still interested?"
    sender: ann@acme.test
    reset_on_interaction: true
    require_approval: false
    expires_after: 2d
    max_lateness: {after: 1h, then: skip}
    window: off
  - {key: text, do: sms, day: 5, day_at: window_open, text: "Hi", on_no_phone: exit}
  - {key: call, do: custom_task, title: "Call {First Name}", assignee: contact.owner,
     due: 2h, reminder: 30m, when: "attrs.tier == 'gold'"}
  - {key: mark, do: tag_add, tag: 2026, next: set}
  - key: set
    do: update
    ops: ["city set New Oslo", "score increment", {op: add, field: interests, value: tea}]
  - {key: away, do: list_add, list: [a, b], create_if_missing: true}
  - {key: done, do: list_remove, list: new-leads}
  - {key: on, do: move, campaign: next-one, next: end}
templates:
  hello: {subject: "Welcome {First Name}", text: "Hello", html: "<p>Hello</p>"}
"""

SMALL: dict[str, Any] = {
    "campaign": "c",
    "account": "a",
    "name": "C",
    "steps": [{"key": "one", "do": "tag_add", "tag": "x"}],
}


def small(**changes: object) -> dict[str, object]:
    return {**SMALL, **changes}


def step(**keys: object) -> dict[str, object]:
    return small(steps=[{"key": "one", **keys}])


def only_step(**keys: object) -> Step:
    return parse(step(**keys)).steps[0]


def faults_of(document: Mapping[str, object]) -> tuple[Fault, ...]:
    with pytest.raises(DefinitionError) as caught:
        parse(document)
    return caught.value.faults


def one_fault(document: Mapping[str, object]) -> Fault:
    faults = faults_of(document)
    assert len(faults) == 1, faults
    return faults[0]


def test_a_full_file_is_read_into_what_it_means() -> None:
    found = parse(load_documents(WELCOME)[0])

    assert (found.campaign, found.account, found.name) == ("welcome", "acme", "Welcome")
    assert (found.klass, found.owner, found.board) == ("marketing", "ann", "leads")
    assert found.fields == {"appointment_at": "datetime", "interests": "multi"}
    assert found.field_map == {"email": "attrs.work_email"}
    assert found.window == WindowSpec(
        days=frozenset(range(5)), opens=540, closes=1020, holidays=("DE-BE", "2026-12-27")
    )
    assert found.triggers[1] == Match(
        kind="status_changed", params={"field": "status", "to": "Interested"}
    )
    assert found.exit_rules == (
        ExitRule(match=Match(kind="reply"), set={"status": "Engaged"}, notify=True),
        ExitRule(match=Match(kind="bounce"), enabled=False),
    )
    assert found.goal == Match(kind="tag_added", params={"tag": "Appointment made"})
    assert found.policy.exclusivity.scope == "group:sales"
    assert found.policy.reentry.min_gap_ms == 2 * DAY
    assert (found.policy.edit_active, found.policy.edit_inflight) == ("locked", "pin")
    assert found.policy.frequency is not None
    assert (found.policy.frequency.n, found.policy.frequency.per_ms) == (2, DAY)
    assert found.policy.origins["edit"] == "file"
    assert found.policy.origins["pause"] == "default"


def test_the_steps_of_a_full_file() -> None:
    hello, nudge, text, call, mark, change, away, done, on = parse(
        load_documents(WELCOME)[0]
    ).steps

    assert hello.content == Content(
        subject="Welcome {First Name}", text="Hello", html="<p>Hello</p>"
    )
    assert (hello.sender, hello.name) == ("sales@acme.test", "Welcome {First Name}")
    assert nudge.timing == Timing(delay=Delay(days=3), send_at=540)
    assert (nudge.sender, nudge.window) == ("ann@acme.test", "off")
    assert nudge.max_lateness is not None
    assert (nudge.max_lateness.after_ms, nudge.max_lateness.then) == (HOUR, "skip")
    assert (nudge.expires_after_ms, nudge.on_unable) == (2 * DAY, "skip")
    assert (text.timing.day, text.timing.day_at) == (5, "window_open")
    assert (text.sender, text.on_no_phone) == ("", "exit")
    assert call.when is not None
    assert call.when({"attrs": {"tier": "gold"}})
    assert (call.due_ms, call.reminder_ms, call.blocking) == (2 * HOUR, HOUR // 2, True)
    assert (mark.tag, mark.next) == ("2026", "set")
    assert change.ops == (
        Op(op="set", field="city", value="New Oslo"),
        Op(op="increment", field="score", value=1),
        Op(op="add", field="interests", value="tea"),
    )
    assert (away.lists, away.create_if_missing) == (("a", "b"), True)
    assert done.lists == ("new-leads",)
    assert (on.campaign, on.next) == ("next-one", "end")


def test_a_stored_definition_reads_as_the_same() -> None:
    found = parse(load_documents(WELCOME)[0])

    assert parse(found.raw) == found


def test_the_account_may_come_with_the_command() -> None:
    document = {key: value for key, value in SMALL.items() if key != "account"}

    assert parse(document, account="acme").raw["account"] == "acme"
    assert one_fault(document).code == "missing:account"


def test_an_account_that_contradicts_the_command_is_refused() -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(SMALL, account="other")

    assert [fault.path for fault in caught.value.faults] == ["account"]


def test_a_campaign_needs_a_name() -> None:
    document = {key: value for key, value in SMALL.items() if key != "name"}

    assert one_fault(document).code == "name_required"
    for blank in (None, ""):
        assert one_fault({**SMALL, "name": blank}).code == "name_required"


@pytest.mark.feature("C48")
@pytest.mark.parametrize("document", [small(repeat="monthly"), step(do="end", repeat="1w")])
def test_repeat_is_refused_and_points_to_sync(document: dict[str, object]) -> None:
    fault = one_fault(document)

    assert fault.code == "repeat_unsupported"
    assert "sync" in fault.hint


@pytest.mark.feature("C46")
def test_a_cycle_is_refused() -> None:
    document = small(
        steps=[
            {"key": "a", "do": "end", "when": "tags"},
            {"key": "b", "do": "end", "when": "tags", "next": "a"},
        ]
    )
    fault = one_fault(document)

    assert (fault.code, fault.path) == ("cycle", "steps[1].next")


def test_a_cycle_out_of_reach_is_refused_too() -> None:
    document = small(
        steps=[
            {"key": "a", "do": "end"},
            {"key": "b", "do": "delay", "delay": "1d", "next": "c"},
            {"key": "c", "do": "delay", "delay": "1d", "next": "b"},
            {"key": "d", "do": "delay", "delay": "1d", "next": "d"},
        ]
    )

    assert [fault.path for fault in faults_of(document)] == ["steps[2].next", "steps[3].next"]


def test_a_move_into_the_campaign_itself_is_a_cycle() -> None:
    fault = one_fault(step(do="move", campaign="c", delay="30d"))

    assert (fault.code, fault.path) == ("cycle", "steps[0].campaign")


def test_a_dangling_next_is_refused_with_a_suggestion() -> None:
    fault = one_fault(step(do="delay", delay="1d", next="ones"))

    assert (fault.code, fault.path) == ("dangling", "steps[0].next")
    assert "'one'" in fault.hint


@pytest.mark.feature("C18")
def test_email_has_no_remind_only_mode() -> None:
    fault = one_fault(step(do="email", remind_only=True))

    assert (fault.code, fault.path) == ("unknown_option", "steps[0].remind_only")


def test_an_unknown_kind_names_step_and_kind() -> None:
    fault = one_fault(step(do="teleport"))

    assert (fault.code, fault.path) == ("unknown_kind", "steps[0].do")
    assert "'one'" in fault.message
    assert "'teleport'" in fault.message
    assert " email " in fault.hint
    assert "'email'" in one_fault(step(do="emial")).hint


def test_refund_on_takes_the_reasons_of_ends_and_what_people_say_for_them() -> None:
    spoken = ["reply", "pause", "unsubscribe", "bounce", "stop", "left_list:vip"]
    definition = parse(small(policy={"refund_on": spoken}))

    assert definition.policy.refund_on == (
        "reply", "paused", "unsubscribe", "bounce", "stopped", "left_list:vip",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("document", "code", "path"),
    [
        (small(campaign="Big Name"), "bad_value", "campaign"),
        (small(name="  "), "name_required", "name"),
        (small(nam="x"), "unknown_option", "nam"),
        (small(**{"odd key": 1}), "unknown_option", '["odd key"]'),
        (small(preset="mondy"), "bad_value", "preset"),
        (small(**{"class": "loud"}), "bad_value", "class"),
        (small(fields={"x": "txt"}), "bad_value", "fields.x"),
        (small(fields=["x"]), "bad_value", "fields"),
        (small(field_map={"fax": "attrs.fax"}), "unknown_option", "field_map.fax"),
        (small(field_map={"email": "work"}), "bad_value", "field_map.email"),
        (small(timezone="not a zone"), "bad_value", "timezone"),
        (small(window="on"), "bad_value", "window"),
        (small(window={"days": []}), "bad_value", "window.days"),
        (small(window={"days": ["mon", "x"]}), "bad_value", "window.days"),
        (small(window={"from": 540}), "bad_value", "window.from"),
        (small(window={"from": "24:00"}), "bad_value", "window.from"),
        (small(window={"to": "9:5"}), "bad_value", "window.to"),
        (small(window={"from": "09:00", "to": "09:00"}), "bad_value", "window"),
        (small(window={"holidays": "2026-02-30"}), "bad_value", "window.holidays"),
        (small(window={"holidays": "DE BE"}), "bad_value", "window.holidays"),
        (small(window={"holiday": "DE"}), "unknown_option", "window.holiday"),
        (small(triggers={"on": "reply"}), "bad_value", "triggers"),
        (small(triggers=[{"list": "x"}]), "bad_value", "triggers[0]"),
        (small(triggers=[{"on": "lst_added"}]), "bad_value", "triggers[0].on"),
        (small(triggers=[{"on": "list_added"}]), "bad_value", "triggers[0]"),
        (small(triggers=[{"on": "reply", "tag": "x"}]), "unknown_option", "triggers[0].tag"),
        (small(triggers=[{"on": "bounce", "type": "x"}]), "bad_value", "triggers[0].type"),
        (small(goal={"on": "tag_added"}), "bad_value", "goal"),
        (small(exit_rules=[{"on": "open", "scop": 1}]), "unknown_option", "exit_rules[0].scop"),
        (small(exit_rules=[{"on": "reply", "set": 1}]), "bad_value", "exit_rules[0].set"),
        (
            small(exit_rules=[{"on": "reply", "set": {"a": {"b": 1}}}]),
            "bad_value",
            "exit_rules[0].set.a",
        ),
        (small(notify={"feild": "x"}), "unknown_option", "notify.feild"),
        (small(policy={"pause": "hld"}), "bad_value", "policy.pause"),
        (small(policy=[]), "bad_value", "policy"),
        (small(policy={"reentry": "never"}), "bad_value", "policy.reentry"),
        (small(policy={"reentry": {"mode": "x"}}), "bad_value", "policy.reentry.mode"),
        (small(policy={"exclusivity": "all"}), "bad_value", "policy.exclusivity"),
        (
            small(policy={"exclusivity": {"scope": "group: "}}),
            "bad_value",
            "policy.exclusivity.scope",
        ),
        (small(policy={"frequency": {"per_contact": "2"}}), "bad_value",
         "policy.frequency.per_contact"),
        (small(policy={"day_base": 2}), "bad_value", "policy.day_base"),
        (small(policy={"day_base": True}), "bad_value", "policy.day_base"),
        (small(policy={"limits": {"max_mesages": 1}}), "unknown_option",
         "policy.limits.max_mesages"),
        (small(policy={"blocking": "yes"}), "bad_value", "policy.blocking"),
        (small(policy={"min_gap": "3bd"}), "bad_value", "policy.min_gap"),
        (small(policy={"refund_on": [1.5]}), "bad_value", "policy.refund_on"),
        (small(policy={"refund_on": ["whim"]}), "bad_value", "policy.refund_on"),
        (small(policy={"freeze": True}), "bad_value", "policy.freeze"),
        (small(templates={"x": {"body": "y"}}), "unknown_option", "templates.x.body"),
        (small(templates={"x": "y"}), "bad_value", "templates.x"),
        (small(goal_text="x" * 10_001), "bad_value", "goal_text"),
        (small(notify={"ended": "yes"}), "bad_value", "notify.ended"),
        (small(owner=("a", "b")), "bad_value", "owner"),
        (small(steps=[]), "missing:steps", "steps"),
        (small(steps=None), "missing:steps", ""),
        (small(steps={"key": "x"}), "bad_value", "steps"),
        (small(steps=[5]), "bad_value", "steps[0]"),
        (small(steps=[{"key": "a"}]), "missing:do", "steps[0]"),
        (small(steps=[{"do": "end"}]), "missing:key", "steps[0]"),
        (small(steps=[{"key": "end", "do": "end"}]), "bad_value", "steps[0].key"),
        (small(steps=[SMALL["steps"][0]] * 2), "bad_value", "steps[1].key"),
        (step(do="delay", delay="3 days"), "bad_value", "steps[0].delay"),
        (step(do="delay", delay="-3d"), "bad_value", "steps[0].delay"),
        (step(do="delay", delay="11000d"), "bad_value", "steps[0].delay"),
        (step(do="delay", delay=True), "bad_value", "steps[0].delay"),
        (step(do="delay", delay="1d", day=3), "bad_value", "steps[0].day"),
        (step(do="delay", day=-1), "bad_value", "steps[0].day"),
        (step(do="delay", delay="1d", day_at="09:00"), "bad_value", "steps[0].day_at"),
        (step(do="delay", day=1, day_at="9"), "bad_value", "steps[0].day_at"),
        (step(do="delay", send_at="25:00"), "bad_value", "steps[0].send_at"),
        (step(do="end", when="attrs.x ="), "bad_value", "steps[0].when"),
        (step(do="end", when=5.5), "bad_value", "steps[0].when"),
        (step(do="end", window={"x": 1}), "unknown_option", "steps[0].window.x"),
        (step(do="end", expires_after="x"), "bad_value", "steps[0].expires_after"),
        (step(do="end", max_lateness={"then": "send"}), "bad_value", "steps[0].max_lateness"),
        (step(do="end", max_lateness={"after": 5}), "bad_value", "steps[0].max_lateness.after"),
        (step(do="end", tag="x"), "unknown_option", "steps[0].tag"),
        (step(do="tag_add", tag=True), "bad_value", "steps[0].tag"),
        (step(do="list_add", list=[1.5]), "bad_value", "steps[0].list"),
        (step(do="move", campaign="No Key"), "bad_value", "steps[0].campaign"),
        (step(do="email", template="t", text="x"), "bad_value", "steps[0].text"),
        (step(do="email", subject=["x"]), "bad_value", "steps[0].subject"),
        (step(do="sms", html="x"), "unknown_option", "steps[0].html"),
        (step(do="email", track={"no_reply_after": "x"}), "bad_value",
         "steps[0].track.no_reply_after"),
        (step(do="custom_task", on_timeout="x"), "bad_value", "steps[0].on_timeout"),
        (step(do="update", ops=["city sett Oslo"]), "bad_op", "steps[0].ops[0]"),
        (step(do="update", ops=["city set"]), "bad_op", "steps[0].ops[0]"),
        (step(do="update", ops=["city clear x"]), "bad_op", "steps[0].ops[0]"),
        (step(do="update", ops=["n increment x"]), "bad_op", "steps[0].ops[0]"),
        (step(do="update", ops=["n increment inf"]), "bad_op", "steps[0].ops[0]"),
        (step(do="update", ops=[{"field": "x"}]), "bad_op", "steps[0].ops[0]"),
        (step(do="update", ops=[{"op": "st", "field": "x"}]), "bad_op", "steps[0].ops[0].op"),
        (step(do="update", ops=[{"op": "now", "field": "x", "vlue": 1}]), "unknown_option",
         "steps[0].ops[0].vlue"),
        (step(do="update", target="list"), "bad_value", "steps[0].target"),
    ],
)  # fmt: skip
def test_a_fault_has_its_code_its_path_and_a_hint(
    document: dict[str, object], code: str, path: str
) -> None:
    fault = one_fault(document)

    assert (code, path) == (fault.code, fault.path)
    assert fault.message
    assert fault.hint
    assert exists(document, fault.path)


def test_a_document_is_bounded_in_depth_wherever_it_comes_from() -> None:
    deep: object = 1
    for _ in range(40):
        deep = [deep]

    assert one_fault(small(goal_text=deep)).message == "deeper than 32 levels"


def test_a_number_without_quotes_is_read_as_its_digits() -> None:
    found = parse(small(name=2026, templates={"t": {"subject": 5}}))

    assert (found.name, found.templates["t"].subject) == ("2026", "5")


def test_an_exit_rule_may_set_a_field_to_a_list() -> None:
    rule = parse(small(exit_rules=[{"on": "reply", "set": {"a": ["x", "y"]}}])).exit_rules[-1]

    assert rule.set == {"a": ["x", "y"]}


def test_a_dangling_next_among_many_steps_lists_none_of_them() -> None:
    steps = [{"key": f"step{n}", "do": "delay", "delay": "1d"} for n in range(20)]
    steps[3]["next"] = "qqq"

    assert one_fault(small(steps=steps)).hint == "name a step's key, or `end`"


def test_every_fault_is_named_at_once() -> None:
    document = {
        "campaign": "X",
        "nme": "x",
        "policy": {"pause": "x", "zzz": 1},
        "steps": [{"key": "a", "do": "teleport"}, {"key": "a", "do": "tag_add", "tagg": 1}],
    }

    assert {
        ("bad_value", "campaign"),
        ("name_required", ""),
        ("missing:account", ""),
        ("bad_value", "policy.pause"),
        ("unknown_option", "policy.zzz"),
        ("unknown_option", "nme"),
        ("unknown_kind", "steps[0].do"),
        ("unknown_option", "steps[1].tagg"),
        ("bad_value", "steps[1].key"),
    } == {(fault.code, fault.path) for fault in faults_of(document)}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (small(nam="x"), "'name'"),
        (small(preset="mondy"), "'monday'"),
        (step(do="emial"), "'email'"),
        (step(do="tag_add", tga="x"), "'tag'"),
    ],
)
def test_a_slip_of_the_pen_is_guessed(document: dict[str, object], said: str) -> None:
    assert f"did you mean {said}?" in {fault.hint for fault in faults_of(document)}


def test_a_message_inherits_only_a_sender_of_its_channel() -> None:
    steps = [{"key": "a", "do": "email"}, {"key": "b", "do": "sms"}]

    by_mail, by_text = parse(small(sender="a@x.test", steps=steps)).steps
    assert (by_mail.sender, by_text.sender) == ("a@x.test", "")
    by_mail, by_text = parse(small(sender="+4912345", steps=steps)).steps
    assert (by_mail.sender, by_text.sender) == ("", "+4912345")


def test_on_unable_exits_for_mail_and_skips_for_texts_unless_the_policy_speaks() -> None:
    steps = [{"key": "a", "do": "email"}, {"key": "b", "do": "sms"}]

    assert [one.on_unable for one in parse(small(steps=steps)).steps] == ["exit", "skip"]
    given = parse(small(steps=steps, policy={"on_unable": "skip"}))
    assert [one.on_unable for one in given.steps] == ["skip", "skip"]


def test_a_task_is_titled_by_its_name_or_its_key() -> None:
    assert only_step(do="custom_task").title == "one"
    assert only_step(do="custom_task", name="Ring").title == "Ring"
    assert only_step(do="custom_task", title="Call", name="Ring").title == "Call"


@pytest.mark.feature("F26")
def test_when_a_task_is_due_may_be_written_with_a_plus() -> None:
    due = [only_step(do="follow_up", title="T", due=text).due_ms for text in ("2d", "+2d")]

    assert due == [2 * DAY, 2 * DAY]
    twice = small(steps=[{"key": "one", "do": "follow_up", "title": "T", "due": "++2d"}])
    assert one_fault(twice).path == "steps[0].due"


def test_no_reply_after_true_means_three_days() -> None:
    assert (
        only_step(do="email", track={"no_reply_after": True}).track.no_reply_after_ms == 3 * DAY
    )
    assert (
        only_step(do="email", track={"no_reply_after": False}).track.no_reply_after_ms is None
    )


@pytest.mark.parametrize("scope", ["none", "account", "group:sales"])
def test_exclusivity_and_blocking_all_have_short_forms(scope: str) -> None:
    found = parse(small(policy={"exclusivity": scope, "blocking": True}))

    assert found.policy.exclusivity == Exclusivity(scope=scope, on_busy="reject")
    assert set(found.policy.blocking.values()) == {True}


def test_null_is_as_good_as_nothing() -> None:
    found = parse(small(goal=None, window=None, policy={"limits": {"max_messages": None}}))

    assert found.policy.limits.max_messages is None
    assert found.window is None


def test_a_delay_step_moves_all_that_follow_it_after_start() -> None:
    found = parse(
        small(
            policy={"anchor": "after_start"},
            steps=[
                {"key": "a", "do": "tag_add", "tag": "x", "delay": "1d"},
                {"key": "wait", "do": "delay", "delay": "2d12h"},
                {"key": "b", "do": "tag_add", "tag": "x", "delay": "3d"},
                {"key": "c", "do": "tag_add", "tag": "x", "day": 7},
            ],
        )
    )
    timings = [one.timing for one in found.steps]

    assert timings[0] == Timing(delay=Delay(days=1), anchor="after_start")
    assert timings[1] == Timing(delay=Delay(days=2, ms=12 * HOUR), anchor="after_previous")
    assert timings[2] == Timing(delay=Delay(days=5, ms=12 * HOUR), anchor="after_start")
    assert timings[3].day == 7 + 3


def test_parse_op_reads_one_line() -> None:
    assert parse_op("city set Oslo") == Op(op="set", field="city", value="Oslo")
    assert parse_op(" seen now ") == Op(op="now", field="seen")
    assert parse_op("n increment -2.5") == Op(op="increment", field="n", value=-2.5)
    with pytest.raises(ValueError, match="no change of a field"):
        parse_op("city")


def test_parse_window_reads_an_accounts_window() -> None:
    assert parse_window("off") == "off"
    assert parse_window({"from": "22:00", "to": "02:00"}) == WindowSpec(opens=1320, closes=120)
    with pytest.raises(DefinitionError) as caught:
        parse_window({"days": "fry"})
    assert [fault.path for fault in caught.value.faults] == ["window.days"]
    for nothing in (None, 5, []):
        with pytest.raises(DefinitionError):
            parse_window(nothing)


def exists(document: object, path: str) -> bool:
    """Does *path* lead to something in *document*?"""
    for name, index, quoted in re.findall(r'([\w-]+)|\[(\d+)\]|\["(.*?)"\]', path):
        if index:
            if not isinstance(document, list) or int(index) >= len(document):
                return False
            document = document[int(index)]
        else:
            if not isinstance(document, Mapping) or (name or quoted) not in document:
                return False
            document = document[name or quoted]
    return True


JUNK = st.sampled_from(
    [
        None,
        True,
        5,
        -1,
        1.5,
        "",
        "x",
        "off",
        "none",
        "3d",
        "09:00",
        [],
        ["x"],
        {},
        {"x": 1},
        {"on": "reply"},
        [{"on": "reply"}],
        {"key": "a"},
        [5],
        "{{",
        "account",
        "\x00",
    ]
)
TOP_KEYS = [
    "campaign", "account", "name", "goal_text", "class", "fields", "field_map", "preset",
    "owner", "board", "sender", "timezone", "window", "triggers", "exit_rules", "goal",
    "notify", "policy", "templates", "sequences", "repeat", "zzz",
]  # fmt: skip
POLICY_KEYS = [
    "exclusivity", "reentry", "edit", "content", "pause", "limits", "anchor", "day_base",
    "delay_unit", "min_gap", "billing", "refund_on", "freeze", "blocking", "soft_bounces",
    "frequency", "require", "missing_tag", "zzz",
]  # fmt: skip
STEP_KEYS = [
    "delay", "day", "day_at", "send_at", "when", "next", "window", "expires_after",
    "max_lateness", "name", "sender", "template", "subject", "text", "html", "tag",
    "list", "ops", "target", "campaign", "title", "due", "blocking", "track",
    "attachments", "zzz",
]  # fmt: skip
STEPS = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from(["a", "b", "end", "", 5]),
        "do": st.sampled_from([*sorted(KINDS), "branch", "nope", 5]),
        **dict.fromkeys(STEP_KEYS, JUNK),
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(TOP_KEYS, JUNK),
        "policy": st.fixed_dictionaries({}, optional=dict.fromkeys(POLICY_KEYS, JUNK)),
        "steps": st.lists(STEPS | JUNK, max_size=3) | JUNK,
    },
)


@given(DOCUMENTS)
@example({"campaign": None, "steps": [{"do": "move"}]})
def test_every_fault_carries_a_path_that_exists(document: dict[str, object]) -> None:
    definition, faults = read(document)
    _, report = check(document, Known(fields=frozenset(), lists={}, senders={}))

    for fault in (*faults, *report.faults, *report.warnings):
        assert fault.code
        assert fault.message
        assert exists(document, fault.path), fault
    if not faults:
        assert parse(definition.raw) == definition
