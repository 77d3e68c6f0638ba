"""Everything wrong or doubtful about a definition has its code, its path and a hint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dripd.campaigns.definition import Content, Step
from dripd.campaigns.known import Known
from dripd.campaigns.lack import is_setting
from dripd.campaigns.parse import parse
from dripd.campaigns.presets import PRESETS
from dripd.campaigns.validate import Report, check, validate
from dripd.campaigns.window import WindowSpec
from dripd.errors import DefinitionError

MAIL = {"do": "email", "subject": "Hi", "text": "Hello"}


def campaign(*steps: dict[str, object], **keys: object) -> dict[str, object]:
    numbered = [{"key": f"s{n}", **step} for n, step in enumerate(steps, 1)]
    return {
        "campaign": "c",
        "account": "a",
        "name": "C",
        "sender": "me@a.test",
        "steps": numbered or [{"key": "s1", "do": "end"}],
        **keys,
    }


def judge(document: dict[str, object], **known: Any) -> Report:
    shared = known.get("templates") or {}
    report = validate(parse(document, shared=shared), Known(**known))
    assert all(one.hint for one in (*report.faults, *report.warnings))
    return report


def faults(document: dict[str, object], **known: Any) -> list[tuple[str, str]]:
    return [(fault.code, fault.path) for fault in judge(document, **known).faults]


def warnings(document: dict[str, object], **known: Any) -> list[tuple[str, str]]:
    return [(fault.code, fault.path) for fault in judge(document, **known).warnings]


def test_a_sound_campaign_has_nothing_to_report() -> None:
    document = campaign(MAIL, {"do": "sms", "text": "Hi {First Name|there}", "delay": "1d"})

    assert judge(document) == Report()
    assert judge(document).ok


@pytest.mark.parametrize(
    "step",
    [
        {"do": "email"},
        {"do": "email", "subject": "x"},
        {"do": "email", "text": "x"},
        {"do": "sms"},
        {"do": "tag_add"},
        {"do": "tag_remove"},
        {"do": "list_add"},
        {"do": "list_remove"},
        {"do": "update"},
        {"do": "move"},
        {"do": "wait_for"},
        {"do": "branch"},
        {"do": "email", "template": "t"},
    ],
)
def test_a_step_without_its_settings_is_named(step: dict[str, object]) -> None:
    document = campaign(step, templates={"t": {"subject": "only"}})

    assert faults(document) == [("missing_settings:s1", "steps[0]")]
    assert judge(document).as_draft().ok
    assert judge(document).as_draft().warnings[0].code == "missing_settings:s1"


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ({"do": "wait_for", "on": "replay"}, "steps[0].on"),
        ({"do": "wait_for", "on": "reply", "timeout": "soon"}, "steps[0].timeout"),
        ({"do": "branch", "cases": [{"when": "x ==", "then": "s1"}]}, "steps[0].cases[0].when"),
        ({"do": "date_timer", "field": 3.5}, "steps[0].field"),
        ({**MAIL, "track": "yes"}, "steps[0].track"),
        ({**MAIL, "max_lateness": "2d"}, "steps[0].max_lateness"),
    ],
)
def test_what_only_follows_from_a_fault_is_not_said_beside_it(
    step: dict[str, object], path: str
) -> None:
    _, report = check(campaign(step))

    assert [(fault.code, fault.path) for fault in report.faults] == [("bad_value", path)]


@pytest.mark.parametrize("key", ["goal", "notify", "window"])
def test_a_mapping_that_is_none_is_one_fault(key: str) -> None:
    _, report = check(campaign(MAIL, **{key: "x"}))

    assert [(fault.code, fault.path) for fault in report.faults] == [("bad_value", key)]


def test_the_words_that_are_known_are_told_once() -> None:
    _, report = check(campaign(MAIL, **{"class": "spam"}))

    (fault,) = report.faults
    assert "write one of these" == fault.hint
    assert "personal marketing transactional" in fault.message


def test_a_missing_template_is_named_and_known_ones_are_not() -> None:
    document = campaign({"do": "email", "template": "helo"}, templates={"hello": {}})

    assert faults(document) == [("missing_template:helo", "steps[0].template")]
    assert "'hello'" in judge(document).faults[0].hint
    assert "steps[0]" not in judge(document).faults[0].message  # the path has said so
    alone = judge(campaign({"do": "email", "template": "helo"})).faults[0]
    assert "`templates`" in alone.hint
    assert not faults(document, templates={"helo": Content(subject="Hi", text="x")})


def test_a_template_of_the_account_is_judged_as_the_files_own() -> None:
    document = campaign({"do": "email", "template": "hello"})

    def of(content: Content) -> list[tuple[str, str]]:
        return faults(document, templates={"hello": content, "unused": Content(text="{{x")})

    assert of(Content(subject="Hi")) == [("missing_settings:s1", "steps[0]")]
    assert of(Content(subject="Hi {{x", text="x")) == [
        ("bad_value", "steps[0].template.subject")
    ]
    own = campaign({"do": "email", "template": "hello"},
                   templates={"hello": {"subject": "Own", "text": "x"}})  # fmt: skip
    assert not faults(own, templates={"hello": Content(text="{{x")})


def test_a_mail_needs_a_sender_and_a_text_does_not() -> None:
    document = campaign(MAIL, MAIL, {"do": "sms", "text": "x"}, sender=None)

    assert faults(document) == [("missing:sender", "steps[0]")]
    assert not faults(campaign({"do": "sms", "text": "x"}, sender=None))


def test_a_sender_that_the_account_has_not_is_named() -> None:
    document = campaign(MAIL, sender="mee@a.test")

    assert faults(document, senders={"me@a.test": "email"}) == [("missing:sender", "steps[0]")]
    assert "'me@a.test'" in judge(document, senders={"me@a.test": "email"}).faults[0].hint


def test_monday_needs_a_board_and_a_person() -> None:
    document = campaign(MAIL, {"do": "custom_task"}, preset="monday", sender=None)

    assert (faults(document)) == [
        ("missing:sender", "steps[0]"),
        ("missing:board", ""),
        ("missing:notify.field", ""),
    ]
    assert all(is_setting(code) for code, _ in faults(document))


@pytest.mark.feature("M36")
@pytest.mark.parametrize("notify", [{"field": "rep"}, {"task_due": False}])
def test_monday_goes_without_a_board_where_it_need_not_look_for_a_person(
    notify: dict[str, object],
) -> None:
    assert not faults(campaign(MAIL, {"do": "custom_task"}, preset="monday", notify=notify))
    assert not faults(campaign(MAIL, preset="monday"))


@pytest.mark.feature("M36")
@pytest.mark.parametrize(
    ("notify", "needed"),
    [
        (None, True),
        ({"task_due": True}, True),
        ({"task_due": False}, False),
        ({"task_due": False, "opened": True}, True),
        ({"task_due": False, "ended": True}, True),
        ({"field": "rep"}, False),
    ],
)
def test_a_person_is_needed_only_where_somebody_is_notified(
    notify: dict[str, object] | None, *, needed: bool
) -> None:
    document = campaign(
        {"do": "custom_task"},
        preset="monday",
        board="b",
        notify=notify,
        exit_rules=[{"on": "reply"}],
    )

    assert ("missing:notify.field" in {code for code, _ in faults(document)}) is needed


def test_an_exit_rule_that_notifies_needs_a_person() -> None:
    rules = [{"on": "bounce", "notify": True}]
    document = campaign(preset="monday", board="b", exit_rules=rules)

    assert faults(document) == [("missing:notify.field", "")]
    rules[0]["enabled"] = False
    assert not faults(document)


def test_a_board_that_does_not_exist_is_missing() -> None:
    lists = {"b": True}

    assert faults(campaign(board="d"), lists=lists) == [("missing:board", "board")]
    assert not faults(campaign(board="b"), lists=lists)


def test_marketing_needs_a_postal_address() -> None:
    document = campaign(**{"class": "marketing"})

    assert faults(document, postal_address=False) == [("missing:postal_address", "class")]
    assert not faults(document, postal_address=True)
    assert not faults(document)


@pytest.mark.feature("M19")
def test_an_unknown_field_is_refused() -> None:
    document = campaign({**MAIL, "text": "Hi {Nope}, {First Name}, {Tier}"})

    assert faults(document, fields=frozenset({"tier"})) == [
        ("unknown_field:Nope", "steps[0].text")
    ]


def test_a_field_may_be_named_without_its_spaces() -> None:
    mail = {"do": "email", "subject": "{FirstName}", "text": "{COMPANYSIZE} {ExternalId}"}
    document = campaign(mail)

    assert faults(document, fields=frozenset({"company_size"})) == []
    assert faults(document, fields=frozenset()) == [
        ("unknown_field:COMPANYSIZE", "steps[0].text")
    ]


def test_offline_an_unknown_field_is_a_doubt() -> None:
    document = campaign({**MAIL, "html": "{Nope}"})

    assert not faults(document)
    assert warnings(document) == [("unknown_field:Nope", "steps[0].html")]


@pytest.mark.parametrize(
    "tag",
    [
        "email",
        "Owner",
        "city",
        "tier",
        "rank",
        "Appt",
        "attrs.tier",
        "vars.x",
        "company.y",
        "contact.phone",
        "score",
    ],
)
def test_these_fields_are_known(tag: str) -> None:
    document = campaign(
        {**MAIL, "text": f"{{{tag}}}"}, fields={"Appt": "datetime", "rank": "number"}
    )

    assert not faults(document, fields=frozenset({"Tier"}), field_types={"score": "number"})


def test_a_bad_template_is_named_where_it_stands() -> None:
    document = campaign(
        {**MAIL, "subject": "{{x}}"},
        {"do": "custom_task", "title": "Call {First Name", "text": "{a,b}"},
        {"do": "sms", "text": "{x"},
        templates={"t": {"html": "{{x}}"}},
    )

    assert {
        ("bad_value", "templates.t.html"),
        ("bad_value", "steps[0].subject"),
        ("bad_value", "steps[1].title"),
        ("bad_value", "steps[1].text"),
        ("bad_value", "steps[2].text"),
    } == set(faults(campaign(**document) | document))


def test_a_policy_of_fallbacks_asks_every_tag_for_one() -> None:
    document = campaign(
        {**MAIL, "text": "{city} {name|you}"}, policy={"missing_tag": "fallback"}
    )

    assert warnings(document) == [("bad_value", "steps[0].text")]


@pytest.mark.feature("S7")
def test_nine_messages_are_accepted_and_ten_refused() -> None:
    tags: list[dict[str, object]] = [{"do": "tag_add", "tag": "x"}] * 3
    mails = [MAIL] * 9

    assert not faults(campaign(*mails, *tags, preset="smarter_contact"))
    refused = judge(campaign(*mails, MAIL, *tags, preset="smarter_contact"))
    assert [fault.message for fault in refused.faults] == ["max_messages 10>9"]
    assert refused.faults[0].code == "max_messages"


@pytest.mark.feature("S17")
@pytest.mark.parametrize(
    ("delays", "refused"),
    [
        (["365d"], False),
        (["365d1s"], True),
        (["200d", "200d"], True),
        (["165d", "200d"], False),
    ],
)
def test_a_gap_of_a_year_is_accepted_and_a_second_more_refused(
    delays: list[str], *, refused: bool
) -> None:
    waits = [{"do": "delay", "delay": delay} for delay in delays]
    document = campaign(MAIL, *waits, MAIL, policy={"limits": {"max_gap_days": 365}})

    assert faults(document) == (
        [("max_gap_days", f"steps[{len(waits) + 1}]")] if refused else []
    )


def test_gaps_after_start_are_between_positions() -> None:
    policy = {"anchor": "after_start", "limits": {"max_gap_days": 10}}
    near = campaign(MAIL, {**MAIL, "delay": "8d"}, {**MAIL, "day": 15}, policy=policy)
    far = campaign(MAIL, {**MAIL, "day": 11}, policy=policy)

    assert not faults(near)
    assert faults(far) == [("max_gap_days", "steps[1]")]


def test_a_text_of_three_segments_is_refused_before_it_is_filled_in() -> None:
    limits = {"limits": {"max_sms_segments": 2}}
    fits = campaign({"do": "sms", "text": "a" * 306 + "{name}"}, policy=limits)
    long = campaign({"do": "sms", "text": "a" * 307 + "{name}"}, policy=limits)
    owned = campaign(
        {"do": "sms", "template": "t"}, policy=limits, templates={"t": {"text": "\u2019" * 135}}
    )

    assert not faults(fits)
    assert faults(long) == [("max_sms_segments", "steps[0].text")]
    assert faults(owned) == [("max_sms_segments", "steps[0].template")]


def test_a_dynamic_list_cannot_be_written() -> None:
    document = campaign({"do": "list_add", "list": ["a", "b"]})

    assert faults(document, lists={"a": True, "b": False}) == [("not_static", "steps[0].list")]


@pytest.mark.feature("F25")
@pytest.mark.parametrize(("length", "fits"), [("8h", True), ("8h1m", False), ("0s", False)])
def test_a_time_to_reserve_fits_into_a_working_day(length: str, fits: bool) -> None:
    meet = {"do": "follow_up", "title": "M", "slot": "first_available", "duration": length}
    assert faults(campaign(meet)) == ([] if fits else [("bad_value", "steps[0].duration")])


@pytest.mark.feature("F16")
@pytest.mark.parametrize(
    ("of_type", "fits"),
    [
        ("text", "set clear"),
        ("number", "set clear increment"),
        ("date", "set clear now"),
        ("datetime", "set clear now"),
        ("bool", "set clear"),
        ("person", "set clear"),
        ("multi", "set clear add remove"),
    ],
)
def test_the_changes_of_a_field_depend_on_its_type(of_type: str, fits: str) -> None:
    values = {"date": "2026-03-01", "datetime": "2026-03-01T10:00+01:00", "bool": "true"}
    ops = [
        f"x set {values.get(of_type, '1')}",
        "x clear",
        "x add 1",
        "x remove 1",
        "x increment",
        "x now",
    ]
    document = campaign({"do": "update", "ops": ops}, fields={"x": of_type})

    assert faults(document) == [
        ("bad_op", f"steps[0].ops[{index}]")
        for index, op in enumerate(ops)
        if op.split()[1] not in fits.split()
    ]
    wrong = campaign({"do": "update", "ops": ["x set soon"]}, fields={"x": of_type})
    assert bool(faults(wrong)) is (of_type in {"number", "date", "datetime", "bool"})


@pytest.mark.feature("F16")
@pytest.mark.parametrize("op", ["size set big", "company.size set big", "attrs.size add 1"])
def test_the_fields_of_a_company_have_types_of_their_own(op: str) -> None:
    change = {"do": "update", "target": "company", "ops": [op]}
    types = {"company.size": "number", "size": "multi"}

    assert faults(campaign(change), field_types=types) == [("bad_op", "steps[0].ops[0]")]
    assert not faults(campaign({**change, "ops": ["size set 5"]}), field_types=types)


@pytest.mark.feature("F16")
@pytest.mark.parametrize("field", ["city", "first_name", "attrs.title", "email"])
def test_the_usual_fields_are_text_unless_declared(field: str) -> None:
    counted = {"do": "update", "ops": [f"{field} increment"]}

    assert faults(campaign(counted)) == [("bad_op", "steps[0].ops[0]")]
    if field != "email":
        declared = {field.removeprefix("attrs."): "number"}
        assert not faults(campaign(counted, fields=declared))


def test_a_field_of_unknown_type_takes_any_change() -> None:
    assert not faults(campaign({"do": "update", "ops": ["x increment", "x add y"]}))
    on_company = {"do": "update", "target": "company", "ops": ["email increment"]}
    assert not faults(campaign(on_company))


def test_zones_and_calendars_are_those_that_exist() -> None:
    document = campaign(
        {**MAIL, "window": {"holidays": ["XX", "2026-12-25"]}},
        timezone="Europe/Pariss",
        window={"holidays": "DE-BE"},
    )
    known = {"zones": frozenset({"Europe/Paris"}), "calendars": frozenset({"DE-BE"})}

    assert faults(document, **known) == [
        ("bad_value", "timezone"),
        ("bad_value", "steps[0].window.holidays"),
    ]
    assert "'Europe/Paris'" in judge(document, **known).faults[0].hint
    assert not faults(document)
    assert not faults(campaign(timezone="contact"), **known)


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ({"send_at": "08:59"}, "steps[0].send_at"),
        ({"send_at": "09:00"}, ""),
        ({"send_at": "17:00"}, "steps[0].send_at"),
        ({"day": 1, "day_at": "20:00"}, "steps[0].day_at"),
        ({"day": 1, "day_at": "window_open"}, ""),
        ({"send_at": "20:00", "window": "off"}, ""),
        ({"send_at": "23:00", "window": {"from": "22:00", "to": "02:00"}}, ""),
        ({"send_at": "02:00", "window": {"from": "22:00", "to": "02:00"}}, "steps[0].send_at"),
    ],
)
def test_a_time_of_sending_stands_in_its_window(step: dict[str, object], path: str) -> None:
    document = campaign({**MAIL, **step}, window={"from": "09:00", "to": "17:00"})

    assert faults(document) == ([("send_at_outside_window", path)] if path else [])


def test_the_accounts_window_counts_where_the_campaign_has_none() -> None:
    document = campaign({**MAIL, "send_at": "08:00"})

    assert faults(document, window=WindowSpec(opens=540, closes=1020)) == [
        ("send_at_outside_window", "steps[0].send_at")
    ]


def test_a_task_outside_the_window_is_no_fault() -> None:
    document = campaign(
        {"do": "custom_task", "send_at": "20:00"}, window={"from": "09:00", "to": "17:00"}
    )

    assert not faults(document)


def test_a_step_out_of_reach_is_refused() -> None:
    document = campaign({"do": "end"}, MAIL)

    assert faults(document) == [("unreachable", "steps[1]")]
    assert not faults(campaign({"do": "end", "when": "tags"}, MAIL))


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"goal": {"on": "reply", "step": "s9"}}, "goal.step"),
        (
            {"preset": "quentn", "exit_rules": [{"on": "open"}, {"on": "click", "step": "s9"}]},
            "exit_rules[1].step",
        ),
        (
            {"exit_rules": [{"on": "reply", "step": "s9", "enabled": False}]},
            "exit_rules[0].step",
        ),
    ],
)
def test_a_match_that_asks_for_no_step_of_the_campaign_is_refused(
    keys: dict[str, object], path: str
) -> None:
    [fault] = judge(campaign(MAIL, **keys)).faults

    assert (fault.code, fault.path) == ("dangling", path)
    assert fault.hint == "one of: s1"


def test_a_wait_for_an_event_of_no_step_is_refused() -> None:
    waiting = {"do": "wait_for", "on": "click", "step": "mail", "timeout": "1d"}

    assert faults(campaign(MAIL, waiting)) == [("dangling", "steps[1].step")]
    assert faults(campaign(MAIL, {**waiting, "step": "s1"})) == []


def test_an_exit_rule_may_ask_for_a_step_of_any_campaign() -> None:
    rule = {"on": "click", "step": "elsewhere", "scope": "any"}

    assert faults(campaign(MAIL, exit_rules=[rule])) == []


def test_overlapping_runs_contradict_exclusivity() -> None:
    policy = {"reentry": "always", "exclusivity": {"scope": "account"}}

    assert faults(campaign(policy=policy)) == [("bad_value", "policy")]


def test_a_step_after_leaving_an_attached_list_is_warned_of() -> None:
    remove, add = {"do": "list_remove", "list": "b"}, {"do": "list_add", "list": "d"}
    attached = {"triggers": [{"on": "list_added", "list": "b"}]}

    assert warnings(campaign(remove, add, **attached)) == [
        ("unreachable_after_exit", "steps[1]")
    ]
    assert "'s2'" in judge(campaign(remove, add, **attached)).warnings[0].message
    assert not warnings(campaign(add, remove, **attached))
    assert not warnings(campaign(remove, add))
    assert not warnings(campaign({**remove, "when": "tags"}, add, **attached))
    assert not warnings(campaign(remove, add, **attached, policy={"on_list_leave": "ignore"}))


def test_a_step_after_a_move_is_warned_of() -> None:
    document = campaign({"do": "move", "campaign": "x"}, MAIL)

    assert warnings(document) == [("unreachable_after_exit", "steps[1]")]


def test_a_name_that_another_campaign_has_is_a_doubt() -> None:
    assert warnings(campaign(), campaigns={"d": "C", "c": "C"}) == [("duplicate_name", "name")]
    assert not warnings(campaign(), campaigns={"c": "C", "e": "E"})


def test_lists_and_campaigns_may_come_later() -> None:
    document = campaign(
        {"do": "list_add", "list": ["a", "b"]},
        {"do": "list_add", "list": "new", "create_if_missing": True},
        {"do": "reset_campaign", "campaign": "later", "when": "attrs.again == true"},
        {"do": "reset_campaign", "campaign": "c", "when": "attrs.again == true"},
        {"do": "move", "campaign": "later"},
        triggers=[{"on": "list_added", "list": "z"}, {"on": "reply"}],
        goal={"on": "list_added", "list": "won"},
    )

    assert warnings(document, lists={"a": True}, campaigns={}) == [
        ("reset_not_event_driven", "steps[3]"),
        ("missing:list", "steps[0].list"),
        ("missing:list", "triggers[0].list"),
        ("missing:list", "goal.list"),
        ("missing:campaign", "steps[2].campaign"),
        ("missing:campaign", "steps[4].campaign"),
    ]
    assert warnings(document) == [("reset_not_event_driven", "steps[3]")]


def test_a_trigger_on_a_board_that_does_not_exist_is_a_doubt() -> None:
    document = campaign(MAIL, triggers=[{"on": "contact_created", "board": "lead"}])

    assert warnings(document, lists={"leads": True}) == [("missing:list", "triggers[0].board")]
    assert not warnings(document, lists={"lead": True})


@pytest.mark.feature("C36")
def test_a_move_to_a_campaign_that_takes_nobody_is_a_doubt() -> None:
    document = campaign({"do": "move", "campaign": "b"})

    found = warnings(document, campaigns={"b": "B"}, closed={"b": "paused"})
    assert found == [("missing:campaign", "steps[0].campaign")]
    assert not warnings(document, campaigns={"b": "B"})
    again = campaign({"do": "reset_campaign", "campaign": "b", "when": "attrs.x == 1"})
    assert not warnings(again, campaigns={"b": "B"}, closed={"b": "paused"})[1:]


@pytest.mark.feature("F36")
@pytest.mark.parametrize(
    ("kind", "to", "is_fit"),
    [
        ("notify_email", "ann", False),
        ("notify_email", "ann@acme.test, bob@acme.test", False),
        ("notify_email", " ann@acme.test ", True),
        ("notify_email", "{rep}", True),
        ("notify_sms", "ann", False),
        ("notify_sms", "+1 (555) 000", True),
    ],
)
def test_a_notice_needs_an_address_that_can_be_one(kind: str, to: str, is_fit: bool) -> None:
    subject = {"subject": "S"} if kind == "notify_email" else {}
    document = campaign({"do": kind, "to": to, "text": "T", **subject})

    assert faults(document) == ([] if is_fit else [("bad_value", "steps[0].to")])


def test_a_timer_on_a_field_that_nobody_has_is_a_doubt() -> None:
    timer = {"do": "date_timer", "offset": "-1h"}
    document = campaign(
        {**timer, "field": "appt"},
        {**timer, "field": "vars.at"},
        {**timer, "field": "apt"},
        MAIL,
    )

    assert warnings(document, fields={"appt"}) == [("unknown_field:apt", "steps[2].field")]
    assert not warnings({**document, "fields": {"apt": "datetime", "appt": "date"}})


def test_billing_and_metering_are_performed_and_need_no_warning() -> None:
    document = campaign(MAIL, preset="superoffice", policy={"meter": "actions"})

    assert warnings(document) == []


def test_a_plan_that_lacks_a_kind_says_so() -> None:
    beyond = replace(
        parse(campaign()),
        steps=(Step(key="s1", kind="script", called="x"), Step(key="s2", kind="end")),
    )

    report = validate(beyond, Known(features=frozenset()))
    assert [(f.code, f.path) for f in report.faults] == [("plan_feature:script", "steps[0].do")]
    assert report.as_draft().ok
    assert report.as_draft().warnings[:1] == report.faults
    assert validate(beyond, Known(features=frozenset({"script"}))).ok
    assert validate(beyond, Known(features=None)).ok


def test_a_loop_is_not_called_out_of_reach_as_well() -> None:
    document = campaign(
        {"do": "delay", "delay": "1d", "next": "s1"}, {"do": "end"}, {"do": "nope"}
    )
    _, report = check(document)

    assert [fault.code for fault in report.faults] == ["unknown_kind", "cycle"]


def test_a_step_of_unknown_kind_puts_nothing_out_of_reach() -> None:
    _, report = check(campaign({"do": "end"}, {"do": "end"}, {"do": "nope"}))

    assert [fault.code for fault in report.faults] == ["unknown_kind"]


def test_the_common_keys_of_a_step_of_unknown_kind_are_judged_too() -> None:
    nope = {"do": "nope", "delay": "soon", "send_at": "25:00", "when": "attrs.", "own": 1}
    _, report = check(campaign(MAIL, {**nope, "expires_after": "never"}))

    assert [(fault.code, fault.path) for fault in report.faults] == [
        ("unknown_kind", "steps[1].do"),
        ("bad_value", "steps[1].delay"),
        ("bad_value", "steps[1].send_at"),
        ("bad_value", "steps[1].when"),
        ("bad_value", "steps[1].expires_after"),
    ]


def test_a_step_needs_some_time_to_be_performed_in() -> None:
    skip = {"after": "0s", "then": "skip"}
    document = campaign(
        {**MAIL, "expires_after": "0s"}, {**MAIL, "max_lateness": skip},
        {**MAIL, "expires_after": "1s", "max_lateness": {**skip, "then": "send"}},
    )  # fmt: skip
    assert faults(document) == [
        ("bad_value", "steps[0].expires_after"),
        ("bad_value", "steps[1].max_lateness.after"),
    ]


def test_a_broken_text_is_not_measured() -> None:
    document = campaign({"do": "sms", "text": "{x"}, policy={"limits": {"max_sms_segments": 1}})

    assert faults(document) == [("bad_value", "steps[0].text")]


def test_one_look_finds_the_faults_of_reading_and_of_judging() -> None:
    document = campaign(
        {**MAIL, "text": "{Nope}", "dely": "3d"},
        {"do": "sms", "text": 1.5},
        {"do": "sms"},
        {"do": "teleport"},
        sender=["x"],
    )
    definition, report = check(document, Known(fields=frozenset()))

    assert definition is None
    assert {
        ("unknown_option", "steps[0].dely"),
        ("bad_value", "steps[1].text"),
        ("unknown_kind", "steps[3].do"),
        ("bad_value", "sender"),
        ("unknown_field:Nope", "steps[0].text"),
        ("missing_settings:s3", "steps[2]"),
    } == {(fault.code, fault.path) for fault in report.faults}


def test_check_gives_the_definition_of_a_sound_file() -> None:
    definition, report = check(campaign(MAIL, account=None), account="acme")

    assert report.ok
    assert definition is not None
    assert definition.account == "acme"


def test_check_of_what_is_no_campaign_at_all() -> None:
    definition, report = check({"steps": "x"})

    assert definition is None
    assert not report.ok


def test_mail_that_nobody_can_end_is_told_and_marketing_refused() -> None:
    unlinked: dict[str, Any] = {"unlinked": frozenset({"me@a.test"})}
    missing = [("missing:public_url", "steps[0]")]
    marketing = campaign(MAIL, **{"class": "marketing"})

    assert warnings(campaign(MAIL), **unlinked) == missing
    assert faults(marketing, **unlinked) == missing
    assert validate(parse(marketing), Known(**unlinked)).as_draft().ok
    transactional = campaign(MAIL, **{"class": "transactional"})
    assert (faults(transactional, **unlinked), warnings(transactional, **unlinked)) == ([], [])


def test_a_pool_of_senders_is_read_and_each_of_them_is_looked_for() -> None:
    pool = ["a@a.test", "b@a.test"]
    document = campaign(MAIL, {**MAIL, "sender": "c@a.test"}, sender=pool)

    assert [step.sender for step in parse(document).steps] == ["a@a.test,b@a.test", "c@a.test"]
    assert faults(document, senders=dict.fromkeys(["a@a.test", "c@a.test"], "email")) == [
        ("missing:sender", "steps[0]")
    ]


@pytest.mark.parametrize(
    "pool", [[], ["a@a.test"], ["a@a.test", "a@a.test"], [""], ["a@a.test,b@a.test"]]
)
def test_a_pool_of_nothing_or_of_the_same_twice_is_refused(pool: list[str]) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(campaign(MAIL, sender=pool))

    assert [(one.code, one.path) for one in caught.value.faults] == [("bad_value", "sender")]


def test_a_window_that_a_small_lag_would_miss_is_doubtful() -> None:
    def window(opens: str, closes: str, **step: object) -> list[tuple[str, str]]:
        spec = {"from": opens, "to": closes}
        return warnings(campaign({**MAIL, **step}, window=spec))

    assert window("09:00", "09:29") == [("narrow_window", "window")]
    assert window("23:50", "00:10") == [("narrow_window", "window")]
    assert window("09:00", "09:30") == []
    assert window("09:00", "17:00", send_at="16:45") == [("narrow_window", "steps[0].send_at")]
    assert window("22:00", "02:00", send_at="01:45") == [("narrow_window", "steps[0].send_at")]
    assert window("09:00", "17:00", send_at="16:30") == []
    assert window("00:00", "24:00", send_at="23:59") == []  # it goes on with the next day
    step = {**MAIL, "window": {"from": "09:00", "to": "09:05"}, "send_at": "09:00"}
    assert warnings(campaign(step)) == [("narrow_window", "steps[0].window")]


@pytest.mark.feature("C14")
def test_an_interaction_cannot_restart_a_day_number_or_no_delay() -> None:
    def told(**step: object) -> list[tuple[str, str]]:
        return warnings(campaign({**MAIL, "reset_on_interaction": True, **step}))

    doubtful = [("nothing_to_reset", "steps[0].reset_on_interaction")]
    assert told(day=3) == doubtful
    assert told() == doubtful
    assert told(delay="3d") == []
    assert told(delay="3bd", send_at="09:00") == []


SMS = {"key": "text", "do": "sms", "text": "Hi"}
TASK = {"key": "task", "do": "task", "title": "Call"}


@pytest.mark.parametrize(
    ("policy", "path"),
    [
        ({"reentry": {"mode": "once", "max_runs": 3}}, "reentry.max_runs"),
        ({"reentry": {"max_runs": 3}}, "reentry.max_runs"),
        ({"reentry": {"mode": "once", "max_runs_per_day": 2}}, "reentry.max_runs_per_day"),
        ({"reentry": {"mode": "once", "min_gap": "1d"}}, "reentry.min_gap"),
        (
            {"reentry": {"mode": "after_end", "max_runs": 2, "max_runs_per_day": 2}},
            "reentry.max_runs_per_day",
        ),
        ({"exclusivity": {"scope": "none", "on_busy": "queue"}}, "exclusivity.on_busy"),
        ({"edit": {"active": "locked", "inflight": "terminate"}}, "edit.inflight"),
        ({"pause": "remove_all", "on_resume": "shift"}, "on_resume"),
        ({"refund_on": ["reply"]}, "refund_on"),
        ({"billing": "per_send", "freeze": "at_enroll"}, "freeze"),
        ({"billing": "upfront", "freeze": "at_enroll", "content": "live"}, "content"),
        ({"sms_overflow": "truncate"}, "sms_overflow"),
        ({"soft_bounces": 5}, "soft_bounces"),
    ],
)
def test_a_policy_that_another_one_leaves_without_effect_is_doubtful(
    policy: dict[str, object], path: str
) -> None:
    rules = [{"on": "bounce", "enabled": False}] if path == "soft_bounces" else []
    report = judge(campaign(MAIL, SMS, policy=policy, exit_rules=rules))

    assert [("no_effect", f"policy.{path}")] == [
        (one.code, one.path) for one in report.warnings
    ]
    assert report.warnings[0].hint


@pytest.mark.parametrize(
    "policy",
    [
        {"reentry": {"mode": "once", "max_runs": 1, "max_runs_per_day": 10}},
        {
            "reentry": {
                "mode": "after_end",
                "max_runs": 9,
                "max_runs_per_day": 2,
                "min_gap": "1h",
            }
        },
        {"exclusivity": {"scope": "group:a", "on_busy": "queue"}},
        {"edit": {"active": "allow", "inflight": "terminate"}},
        {"pause": "hold", "on_resume": "shift"},
        {"billing": "upfront", "freeze": "at_enroll", "refund_on": ["reply"]},
        {"billing": "per_send", "refund_on": ["reply"], "content": "live"},
        {"sms_overflow": "truncate", "limits": {"max_sms_segments": 2}},
        {"soft_bounces": 5},
    ],
)
def test_a_policy_that_has_an_effect_is_not_doubtful(policy: dict[str, object]) -> None:
    assert [] == warnings(campaign(MAIL, SMS, policy=policy))


def test_a_preset_s_own_policies_are_not_doubtful() -> None:
    locked = {"edit": {"active": "locked"}}

    for preset in PRESETS:
        assert "no_effect" not in {
            code for code, _ in warnings(campaign(MAIL, SMS, preset=preset, policy=locked))
        }


def test_no_frequency_holds_what_is_transactional() -> None:
    often = {"policy": {"frequency": {"per_contact": "1/1d"}}}

    assert [] == warnings(campaign(MAIL, **often))
    assert [("no_effect", "policy.frequency")] == warnings(
        campaign(MAIL, **often, **{"class": "transactional"})
    )


def test_a_campaign_that_resets_itself_lets_contacts_run_again() -> None:
    reset = {"key": "again", "do": "reset_campaign"}
    top = {
        "sequences": [{"key": "a", "steps": [reset, {**MAIL, "key": "mail"}]}],
        "policy": {"reentry": {"mode": "once", "max_runs": 3}},
    }
    document = {key: value for key, value in campaign(MAIL, **top).items() if key != "steps"}

    assert "no_effect" not in {code for code, _ in warnings(document)}


def test_nobody_waits_for_what_does_not_block_nor_for_ever_in_vain() -> None:
    assert [("no_effect", "steps[0].timeout")] == warnings(campaign({**TASK, "timeout": "2d"}))
    exits = {**TASK, "blocking": True, "on_timeout": "exit"}
    assert [("no_effect", "steps[0].on_timeout")] == warnings(campaign(exits))
    assert [] == warnings(campaign({**exits, "timeout": "2d"}))


def test_a_rest_between_messages_keeps_to_the_longest_gap() -> None:
    policy = {"min_gap": "3d", "limits": {"max_gap_days": 2}}
    again = {**MAIL, "key": "again"}

    assert [("max_gap_days", "policy.min_gap")] == faults(campaign(MAIL, again, policy=policy))
    assert [] == faults(campaign(MAIL, policy=policy))


def test_moves_in_a_circle_are_doubtful_where_everybody_may_run_again() -> None:
    def mover(key: str, to: str, mode: str = "after_end") -> dict[str, object]:
        step = {"do": "move", "campaign": to}
        return campaign(step, campaign=key, name=key.upper(), policy={"reentry": mode})

    b, c = mover("b", "c"), mover("c", "a")
    known = {"campaigns": {"b": "B", "c": "C"}, "movers": {"b": b, "c": c}}
    told = judge(mover("a", "b"), **known).warnings
    assert [(one.code, one.path) for one in told] == [("cycle", "steps[0].campaign")]
    assert "b moves to c moves to a" in told[0].message
    assert not warnings(mover("a", "b", "once"), **known)
    assert not warnings(
        mover("a", "b"), **{**known, "movers": {"b": b, "c": mover("c", "a", "once")}}
    )
    assert not warnings(mover("a", "b"), **{**known, "movers": {"b": mover("b", "b")}})


def test_what_waits_for_a_click_or_an_opening_that_nothing_tells_of_is_doubtful() -> None:
    wait = {"do": "wait_for", "timeout": "1d", "then": "end", "else": "end"}
    html = {**MAIL, "html": "<p>Hello</p>"}

    def told(*steps: dict[str, object], **keys: object) -> list[tuple[str, str]]:
        return warnings(campaign(*steps, **keys))

    assert told(MAIL, {**wait, "on": "click"}) == [("untracked", "steps[1]")]
    clicks = {**MAIL, "track": {"click": True}}
    assert told(clicks, {**wait, "on": "click"}) == []
    other = {**wait, "on": "click", "step": "s2"}
    assert told(clicks, {**MAIL, "delay": "1d"}, other) == [("untracked", "steps[2]")]
    assert told({**wait, "on": "click"}) == [], "others tell of it"

    opened = [{"on": "reply"}, {"on": "open"}]
    assert told(MAIL, exit_rules=opened) == [("untracked", "exit_rules[1]")]
    assert told({**MAIL, "track": {"open": True}}, exit_rules=opened) == [
        ("untracked", "exit_rules[1]")
    ], "a text alone tells of no opening"
    assert told({**html, "track": {"open": True}}, exit_rules=opened) == []
    assert told(MAIL, exit_rules=[{"on": "open", "enabled": False}]) == []
    assert told(MAIL, exit_rules=[{"on": "open", "scope": "any"}]) == []

    assert told(MAIL, goal={"on": "click", "link": "buy"}) == [("untracked", "goal")]
    tagged = {"link": "buy", "do": "tag_add", "tag": "t"}
    assert told(MAIL, on_click=[tagged]) == [("untracked", "on_click[0]")]
    assert told(html | {"track": {"notify_if_opened": True}}) == [
        ("untracked", "steps[0].track.notify_if_opened")
    ]
    assert told(html | {"track": {"open": True, "notify_if_opened": True}}) == []
