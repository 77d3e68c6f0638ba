"""`on_click` and `on_form` as a file has them."""

from __future__ import annotations

from typing import Any

from dripd.campaigns.attached import names, pinned
from dripd.campaigns.known import Known
from dripd.campaigns.parse import parse, read
from dripd.campaigns.validate import validate


def document(**top: Any) -> dict[str, Any]:
    steps = [
        {"key": "a", "do": "list_add", "list": "L"},
        {"key": "b", "do": "tag_add", "tag": "T"},
    ]
    return {"campaign": "c", "account": "acme", "name": "C", "steps": steps, **top}


def faults(**top: Any) -> list[tuple[str, str]]:
    _, found = read(document(**top))
    return [(fault.code, fault.path) for fault in found]


def warned(**top: Any) -> list[tuple[str, str]]:
    report = validate(parse(document(**top)))
    assert report.ok
    return [(fault.code, fault.path) for fault in report.warnings]


def test_handlers_are_read_as_the_steps_of_their_kind() -> None:
    found = parse(
        document(
            on_click=[{"link": "offer", "do": "tag_add", "tag": "hot", "once_per": "contact"}],
            on_form=[{"form": "signup", "do": "update", "ops": ["city set Oslo"]}],
        )
    ).handlers

    assert [(h.on, h.id, h.action.kind, h.once_per, h.path) for h in found] == [
        ("click", "offer", "tag_add", "contact", "on_click[0]"),
        ("form", "signup", "update", "event", "on_form[0]"),
    ]


def test_what_no_handler_can_be_is_a_fault() -> None:
    assert faults(on_click=[{"do": "tag_add", "tag": "x"}]) == [("bad_value", "on_click[0]")]
    assert (
        faults(on_click=[{"link": "x", "do": "move"}])
        == [
            ("unknown_kind", "on_click[0].do"),
            ("unknown_option", "on_click[0].do"),
        ][:1]
    )
    assert faults(on_form=[{"form": "x", "do": "tag_add", "tag": "y", "delay": "3d"}]) == [
        ("unknown_option", "on_form[0].delay")
    ]
    assert faults(on_form=[{"form": "x", "do": "tag_add", "tag": "y", "once_per": "day"}]) == [
        ("bad_value", "on_form[0].once_per")
    ]


def test_an_action_that_lacks_what_it_needs_cannot_be_published() -> None:
    report = validate(parse(document(on_click=[{"link": "x", "do": "tag_add"}])))

    assert [fault.code for fault in report.faults] == ["missing_settings:on_click[0]"]
    assert report.as_draft().ok


def test_what_is_done_or_undone_in_two_places_is_said() -> None:
    def on_click(*actions: dict[str, Any]) -> list[tuple[str, str]]:
        return warned(on_click=[{"link": "x", **action} for action in actions])

    assert on_click({"do": "list_add", "list": "L"}) == [("duplicate_action", "on_click[0]")]
    assert on_click({"do": "list_remove", "list": "L"}) == [
        ("conflicting_action", "on_click[0]")
    ]
    assert on_click({"do": "tag_remove", "tag": "T"}) == [("conflicting_action", "on_click[0]")]
    assert on_click({"do": "list_add", "list": "M"}) == []
    assert on_click({"do": "tag_add", "tag": "M"}, {"do": "tag_add", "tag": "M"}) == [
        ("duplicate_action", "on_click[1]")
    ]


def test_the_words_of_actions_are_checked_like_those_of_steps() -> None:
    mail = {"form": "x", "do": "email", "subject": "Hi {Nope}", "text": "{{no}}"}
    report = validate(parse(document(on_form=[mail])), Known(fields=frozenset()))

    assert [(fault.code, fault.path) for fault in report.faults] == [
        ("bad_value", "on_form[0].text"),
        ("unknown_field:Nope", "on_form[0].subject"),
    ]


NOTICE = {"form": "x", "do": "notify_email", "to": "boss@x.test", "subject": "S", "text": "T"}


def test_an_action_may_tell_somebody_of_the_house() -> None:
    (found,) = parse(document(on_form=[NOTICE], sender="us@x.test")).handlers

    assert (found.action.kind, found.action.to) == ("notify_email", "boss@x.test")
    assert found.action.sender == "us@x.test"
    bare = {"form": "x", "do": "notify_email", "subject": "S", "text": "T"}
    report = validate(parse(document(on_form=[bare])))
    assert [fault.code for fault in report.faults] == ["missing_settings:on_form[0]"]


def test_mails_of_actions_lack_what_mails_of_steps_may_lack() -> None:
    mail = {"form": "x", "do": "email", "template": "gone", "sender": "odd@x.test"}
    known = Known(senders={"us@x.test": "email"})
    report = validate(parse(document(on_form=[mail])), known)

    assert {(fault.code, fault.path) for fault in report.faults} == {
        ("missing_template:gone", "on_form[0].template"),
        ("missing:sender", "on_form[0]"),
    }


def test_files_go_with_the_mail_of_an_action() -> None:
    mail = {"form": "x", "do": "email", "subject": "S", "text": "T", "attachments": ["a.pdf"]}
    raw = document(on_form=[mail])

    assert list(names(raw)) == [["a.pdf"]]
    report = validate(parse(raw))
    assert [(fault.code, fault.path) for fault in report.faults] == [
        ("missing:attachment", "on_form[0].attachments[0]")
    ]
    (found,) = parse(pinned(raw, {"a.pdf": {"sha256": "0" * 64, "size": 3}})).handlers
    assert [(one.name, one.size) for one in found.action.attachments] == [("a.pdf", 3)]


def test_what_is_once_for_a_contact_is_told_apart_by_what_it_says() -> None:
    mail = {"form": "x", "do": "email", "text": "T", "once_per": "contact"}
    update = {"form": "x", "do": "update", "once_per": "contact"}
    found = parse(
        document(
            on_form=[
                {**mail, "subject": "A"},
                {**mail, "subject": "B"},
                {**update, "ops": ["n increment 1"]},
                {**update, "ops": ["m increment 1"]},
                {**NOTICE, "once_per": "contact"},
            ]
        )
    ).handlers

    assert len({one.key for one in found}) == 5
