"""Which keys has each kind of step besides the common ones? The kinds, and a reader for each.

A kind adds a function to the table at the end and its name to `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dripd.campaigns.activities import AUTO, read_activity
from dripd.campaigns.attached import read_attached
from dripd.campaigns.condition import Condition, compile_condition
from dripd.campaigns.definition import Case, Content, Definition, Op, Policy, Track
from dripd.campaigns.ops import read_op
from dripd.campaigns.policies import MANUAL_KINDS
from dripd.campaigns.reader import (
    BadValue,
    Section,
    content,
    duration,
    filled,
    flag,
    key,
    senders,
    text,
    word,
    words,
)
from dripd.campaigns.settings import read_match
from dripd.clock import Millis
from dripd.scheduler.due import parse_offset

KINDS = frozenset(
    {"email", "sms", "delay", "tag_add", "tag_remove", "list_add", "list_remove", "update"}
    | {"date_timer", "wait_for", "branch", "move", "reset_campaign", "end"}
    | {"notify_email", "notify_sms", "script", "sync", "social_follow"}
    | {*MANUAL_KINDS}
)
"""The closed set; any other is refused."""


@dataclass(slots=True)
class Reading:
    """A step that is being read, and what holds for the whole campaign."""

    section: Section
    kind: str
    campaign: Definition

    @property
    def policy(self) -> Policy:
        return self.campaign.policy


def read_content(section: Section) -> Content:
    """The templates of one message."""
    return Content(
        subject=section.take("subject", content, ""),
        text=section.take("text", content, ""),
        html=section.take("html", content, ""),
    )


def read_condition(value: object) -> Condition:
    try:
        return compile_condition(text(value))
    except BadValue:
        raise
    except ValueError as error:
        raise BadValue(str(error), hint="such as attrs.tier == 'gold'") from error


def nothing(_reading: Reading) -> dict[str, object]:
    return {}


def _email(reading: Reading) -> dict[str, object]:
    section = reading.section
    return {
        **_message(reading),
        "attachments": read_attached(section),
        "content": _resolved(reading, read_content(section)),
        "on_unable": section.take("on_unable", _SKIP_OR_EXIT, _on_unable(reading, "exit")),
    }


def _sms(reading: Reading) -> dict[str, object]:
    section, policy = reading.section, reading.policy
    own = Content(text=section.take("text", content, ""))
    return {
        **_message(reading),
        "content": _resolved(reading, own),
        "on_no_phone": section.take("on_no_phone", _SKIP_OR_EXIT, policy.on_no_phone),
        "on_unable": section.take("on_unable", _SKIP_OR_EXIT, _on_unable(reading, "skip")),
    }


_SKIP_OR_EXIT = word("skip", "exit")


def _on_unable(reading: Reading, default: str) -> str:
    given = reading.policy.origins.get("on_unable", "default") != "default"
    return reading.policy.on_unable if given else default


def _message(reading: Reading) -> dict[str, object]:
    section = reading.section
    campaigns = reading.campaign.sender
    fits = ("@" in campaigns) is (reading.kind == "email")
    return {
        "sender": section.take("sender", senders, campaigns if fits else ""),
        "template": section.take("template", filled, ""),
        "track": _track(section),
        "require_approval": section.take("require_approval", flag, default=False),
    }


def _resolved(reading: Reading, own: Content) -> Content:
    """The content of a template, of the campaign or of the account, else what the step says."""
    section = reading.section
    name = section.values.get("template")
    if name is None:
        return own
    for inline in ("subject", "text", "html"):
        if section.values.get(inline) is not None:
            path = section.path_of(inline)
            message = f"`template` and `{inline}` exclude each other"
            section.fault("bad_value", path, message, "give one")
    campaign = reading.campaign
    return campaign.templates.get(str(name)) or campaign.shared.get(str(name), own)


def _track(section: Section) -> Track:
    inner = section.section("track")
    if inner is None:
        return Track()
    found = Track(
        open=inner.take("open", flag, default=False),
        click=inner.take("click", flag, default=False),
        no_reply_after_ms=inner.take("no_reply_after", _no_reply_after, None),
        notify_if_opened=inner.take("notify_if_opened", flag, default=False),
    )
    inner.finish()
    return found


def _no_reply_after(value: object) -> Any:
    if isinstance(value, bool):
        return duration("3d") if value else None
    return duration(value)


def _manual(reading: Reading) -> dict[str, object]:
    section, policy = reading.section, reading.policy
    blocking = policy.blocking.get(reading.kind, False)
    label = section.values.get("name") or section.values.get("key", "")
    return {
        "title": section.take("title", content, str(label)),
        "text": section.take("text", content, ""),
        "assignee": section.take("assignee", filled, ""),
        "due_ms": section.take("due", _due, None),
        "reminder_ms": section.take("reminder", duration, None),
        "blocking": section.take("blocking", flag, blocking),
        "timeout_ms": section.take("timeout", duration, None),
        "on_timeout": section.take("on_timeout", word("continue", "exit"), "continue"),
        "notify": section.take("notify", flag, None),
    }


def _due(value: object) -> Millis:
    """How long after the step a task is due: `2d`, which may be written `+2d`."""
    return duration(value[1:] if isinstance(value, str) and value[:1] == "+" else value)


def _manual_email(reading: Reading) -> dict[str, object]:
    """A draft for a person to send: its subject is the title unless the step has one."""
    section = reading.section
    draft = _resolved(reading, read_content(section))
    found = {
        **_manual(reading),
        "template": section.take("template", filled, ""),
        "content": draft,
        "text": "",
    }
    if not section.given("title") and draft.subject:
        found["title"] = draft.subject
    return found


def _activity(reading: Reading) -> dict[str, object]:
    """A task with a type; whose it is may be said as `owner`."""
    section = reading.section
    found = _manual(reading)
    activity = read_activity(section, reading.kind, reading.campaign)
    owner = section.take("owner", filled, "")
    if owner:
        found["assignee"] = owner
    if owner == AUTO and activity.category not in reading.campaign.categories:
        path = section.path_of("owner")
        section.fault(
            "bad_value", path, "`auto` needs a `category` with members", "categories:"
        )
    return {**found, "activity": activity}


def _notice(reading: Reading) -> dict[str, object]:
    section = reading.section
    campaigns = reading.campaign.sender
    by_mail = reading.kind == "notify_email"
    own = {
        name: section.take(name, content, "")
        for name in (("subject", "text") if by_mail else ("text",))
    }
    return {
        "to": section.take("to", content, ""),
        "content": Content(**own),
        "sender": section.take(
            "sender", senders, campaigns if ("@" in campaigns) is by_mail else ""
        ),
    }


def _tag(reading: Reading) -> dict[str, object]:
    return {"tag": reading.section.take("tag", filled, "")}


def _list(reading: Reading) -> dict[str, object]:
    return {
        "lists": reading.section.take("list", words(filled), ()),
        "create_if_missing": reading.section.take("create_if_missing", flag, default=False),
    }


def _move(reading: Reading) -> dict[str, object]:
    return {"campaign": reading.section.take("campaign", key, "")}


def _update(reading: Reading) -> dict[str, object]:
    section = reading.section
    target = section.take("target", word("contact", "company"), "contact")
    found: list[Op] = []
    for path, item in section.items("ops"):
        try:
            found.append(read_op(item, path, section))
        except BadValue as bad:
            section.fault(bad.code, path, bad.message, bad.hint)
    return {"target": target, "ops": tuple(found)}


def _date_timer(reading: Reading) -> dict[str, object]:
    section = reading.section
    past = word("skip", "send_now", "exit")
    return {
        "field": section.take("field", filled, ""),
        "offset": section.take("offset", _offset, parse_offset(0)),
        "past": section.take("past", past, reading.policy.past),
    }


def _offset(value: object) -> Any:
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise BadValue("it is no offset", hint="such as -1h or 2d")
    try:
        return parse_offset(value)
    except ValueError as error:
        raise BadValue(str(error), hint="such as -1h or 2d") from error


def _wait_for(reading: Reading) -> dict[str, object]:
    section = reading.section
    return {
        "on": read_match(section, must=False),
        "timeout_ms": section.take("timeout", duration, None),
        "then": section.take("then", filled, None),
        "otherwise": section.take("else", filled, None),
    }


def _branch(reading: Reading) -> dict[str, object]:
    section = reading.section
    found: list[Case] = []
    for path, item in section.items("cases"):
        inner = Section(item, path, section.faults)
        when = inner.take("when", read_condition, None)
        then = inner.take("then", filled, "")
        inner.finish()
        if when is not None and then:
            found.append(Case(when=when, then=then))
        elif inner.values and not (inner.given("when") and inner.given("then")):
            inner.fault("bad_value", path, "a case has `when` and `then`")
    return {"cases": tuple(found), "otherwise": section.take("else", filled, None)}


def _script(reading: Reading) -> dict[str, object]:
    return {"called": reading.section.take("script", filled, "")}


def _sync(reading: Reading) -> dict[str, object]:
    return {"called": reading.section.take("connector", filled, "")}


def _social_follow(reading: Reading) -> dict[str, object]:
    return {"called": reading.section.take("network", word("twitter"), "")}


OWN: Mapping[str, Callable[[Reading], dict[str, object]]] = MappingProxyType(
    {
        "email": _email,
        "sms": _sms,
        "update": _update,
        "move": _move,
        "reset_campaign": _move,
        "date_timer": _date_timer,
        "wait_for": _wait_for,
        "branch": _branch,
        "script": _script,
        "sync": _sync,
        "social_follow": _social_follow,
        **dict.fromkeys(("tag_add", "tag_remove"), _tag),
        **dict.fromkeys(("list_add", "list_remove"), _list),
        **dict.fromkeys(MANUAL_KINDS, _manual),
        "manual_email": _manual_email,
        **dict.fromkeys(("notify_email", "notify_sms"), _notice),
        **dict.fromkeys(("follow_up", "request", "sale"), _activity),
    }
)
"""What each kind has besides the common keys."""
