"""How is one step of a campaign file read? The keys of every kind, and what they default to.

A kind adds a function to the table at the end and its name to `PERFORMED`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from dripd.campaigns.condition import Condition, compile_condition
from dripd.campaigns.definition import Content, Definition, MaxLateness, Op, Policy, Step, Track
from dripd.campaigns.policies import MANUAL_KINDS
from dripd.campaigns.reader import (
    NOT_YET,
    BadValue,
    Section,
    as_fields,
    content,
    delay,
    duration,
    filled,
    flag,
    key,
    minute,
    scalar,
    shown,
    step_key,
    suggest,
    text,
    whole,
    word,
    words,
)
from dripd.campaigns.settings import read_window
from dripd.scheduler.due import Delay, Timing

PERFORMED = frozenset(
    {"email", "sms", "delay", "tag_add", "tag_remove", "list_add", "list_remove", "update"}
    | {"custom_task", "task", "call_task", "manual_email", "move", "end"}
)
"""The kinds that this version can perform; any other is refused."""

KINDS = PERFORMED | {
    *MANUAL_KINDS,
    *("date_timer", "wait_for", "branch", "reset_campaign", "script", "sync"),
    *("social_follow", "notify_email", "notify_sms"),
}
"""The closed set of CONTRACT section 3."""

OPS = ("set", "clear", "add", "remove", "increment", "now")

MAX_DAY = 3660
"""Ten years, as the longest delay."""


@dataclass(slots=True)
class _Reading:
    """A step that is being read, and what holds for the whole campaign."""

    section: Section
    kind: str
    campaign: Definition

    @property
    def policy(self) -> Policy:
        return self.campaign.policy


def read_steps(top: Section, campaign: Definition) -> tuple[Step, ...]:
    """Every step of the file; *campaign* is all the rest of it, already read."""
    found: list[Step] = []
    seen: set[str] = set()
    for path, item in top.items("steps"):
        step = _step(Section(item, path, top.faults), campaign)
        if step.key in seen and step.key:
            message = f"there is another step {step.key!r}"
            top.fault("bad_value", f"{path}.key", message, "a key stays with its step for good")
        seen.add(step.key)
        found.append(step)
    if not found and not (top.given("steps") and top.values["steps"] != []):
        path = "steps" if top.given("steps") else ""
        top.fault("missing:steps", path, "there are no steps", "add at least one")
    return tuple(found)


def read_content(section: Section) -> Content:
    """The templates of one message."""
    return Content(
        subject=section.take("subject", content, ""),
        text=section.take("text", content, ""),
        html=section.take("html", content, ""),
    )


def parse_op(line: str) -> Op:
    """Read one change of a field as text: `city set Oslo`, `score increment 5`.

    Raises `ValueError` saying what to write.
    """
    name, _, rest = line.strip().partition(" ")
    verb, _, value = rest.strip().partition(" ")
    if not name or verb not in OPS:
        hint = suggest(verb, OPS) or "such as city set Oslo"
        raise BadValue(f"{shown(line)} is no change of a field", hint=hint, code="bad_op")
    return _op(name, verb, value.strip() or None, enabled=True)


def _step(section: Section, campaign: Definition) -> Step:
    name = section.take("key", step_key, "")
    if not section.given("key") and section.values:
        section.fault("missing:key", section.path, "the step has no key", "add `key: ...`")
    kind = _kind(section, name)
    if not kind:
        following = section.take("next", filled, None)
        return Step(key=name or section.path, kind="", next=following)
    reading = _Reading(section, kind, campaign)
    own = _OWN.get(kind, _nothing)(reading)
    common = _common(reading)
    section.finish()
    label = own.get("title") or _subject(own)
    common["name"] = section.take("name", text, str(label))
    return Step(key=name or section.path, kind=kind, **as_fields({**common, **own}))


def _subject(own: Mapping[str, object]) -> str:
    found = own.get("content")
    return found.subject if isinstance(found, Content) else ""


def _kind(section: Section, name: str) -> str:
    """The kind if this version can perform it, else "" and a fault."""
    if not section.given("do"):
        if section.values:
            section.fault("missing:do", section.path, "the step has no kind", "add `do: email`")
        return ""
    kind = section.values["do"]
    if isinstance(kind, str) and kind in PERFORMED:
        return kind
    path, named = section.path_of("do"), f"step {name!r}: " if name else ""
    if isinstance(kind, str) and kind in KINDS:
        section.fault("unknown_kind", path, f"{named}{kind!r} is not performed", NOT_YET)
    else:
        message = f"{named}unknown kind {shown(kind)}"
        section.fault("unknown_kind", path, message, suggest(str(kind), PERFORMED))
    return ""


def _common(reading: _Reading) -> dict[str, object]:
    section = reading.section
    section.given("name")
    return {
        "timing": _timing(reading),
        "when": section.take("when", _condition, None),
        "next": section.take("next", filled, None),
        "window": read_window(section),
        "expires_after_ms": section.take("expires_after", duration, None),
        "max_lateness": _max_lateness(section),
        "reset_on_interaction": section.take("reset_on_interaction", flag, default=False),
    }


def _timing(reading: _Reading) -> Timing:
    section, policy = reading.section, reading.policy
    day = section.take("day", whole(policy.day_base, MAX_DAY), None)
    if section.given("day") and section.given("delay"):
        path = section.path_of("day")
        section.fault("bad_value", path, "`day` and `delay` exclude each other", "give one")
    if section.given("day_at") and not section.given("day"):
        path = section.path_of("day_at")
        section.fault("bad_value", path, "`day_at` needs `day`", "or write `send_at`")
    return Timing(
        delay=section.take("delay", delay, Delay()),
        day=day,
        day_at=section.take("day_at", _day_at, None),
        send_at=section.take("send_at", minute, None),
        unit=policy.delay_unit,
        anchor=policy.anchor,
        day_base=policy.day_base,
    )


def _day_at(value: object) -> Any:
    return value if value == "window_open" else minute(value)


def _condition(value: object) -> Condition:
    try:
        return compile_condition(text(value))
    except BadValue:
        raise
    except ValueError as error:
        raise BadValue(str(error), hint="such as attrs.tier == 'gold'") from error


def _max_lateness(section: Section) -> MaxLateness | None:
    inner = section.section("max_lateness")
    if inner is None:
        return None
    after = inner.take("after", duration, None)
    then = inner.take("then", word("send", "skip"), "send")
    inner.finish()
    if after is None:
        if not inner.given("after"):
            inner.fault("bad_value", inner.path, "`after` is missing", "such as after: 2d")
        return None
    return MaxLateness(after_ms=after, **as_fields({"then": then}))


def _nothing(_reading: _Reading) -> dict[str, object]:
    return {}


def _email(reading: _Reading) -> dict[str, object]:
    section = reading.section
    section.later("attachments", harmless=[])
    return {
        **_message(reading),
        "content": _resolved(reading, read_content(section)),
        "on_unable": section.take("on_unable", _SKIP_OR_EXIT, _on_unable(reading, "exit")),
    }


def _sms(reading: _Reading) -> dict[str, object]:
    section, policy = reading.section, reading.policy
    own = Content(text=section.take("text", content, ""))
    return {
        **_message(reading),
        "content": _resolved(reading, own),
        "on_no_phone": section.take("on_no_phone", _SKIP_OR_EXIT, policy.on_no_phone),
        "on_unable": section.take("on_unable", _SKIP_OR_EXIT, _on_unable(reading, "skip")),
    }


_SKIP_OR_EXIT = word("skip", "exit")


def _on_unable(reading: _Reading, default: str) -> str:
    given = reading.policy.origins.get("on_unable", "default") != "default"
    return reading.policy.on_unable if given else default


def _message(reading: _Reading) -> dict[str, object]:
    section = reading.section
    campaigns = reading.campaign.sender
    fits = ("@" in campaigns) is (reading.kind == "email")
    return {
        "sender": section.take("sender", filled, campaigns if fits else ""),
        "template": section.take("template", filled, ""),
        "track": _track(section),
        "require_approval": section.take("require_approval", flag, default=False),
    }


def _resolved(reading: _Reading, own: Content) -> Content:
    """The content of a template that the campaign owns, else what the step itself says."""
    section = reading.section
    name = section.values.get("template")
    if name is None:
        return own
    for inline in ("subject", "text", "html"):
        if section.values.get(inline) is not None:
            path = section.path_of(inline)
            message = f"`template` and `{inline}` exclude each other"
            section.fault("bad_value", path, message, "give one")
    return reading.campaign.templates.get(str(name), own)


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


def _manual(reading: _Reading) -> dict[str, object]:
    section, policy = reading.section, reading.policy
    blocking = policy.blocking.get(reading.kind, False)
    label = section.values.get("name") or section.values.get("key", "")
    return {
        "title": section.take("title", content, str(label)),
        "text": section.take("text", content, ""),
        "assignee": section.take("assignee", filled, ""),
        "due_ms": section.take("due", duration, None),
        "reminder_ms": section.take("reminder", duration, None),
        "blocking": section.take("blocking", flag, blocking),
        "timeout_ms": section.take("timeout", duration, None),
        "on_timeout": section.take("on_timeout", word("continue", "exit"), "continue"),
        "notify": section.take("notify", flag, None),
    }


def _manual_email(reading: _Reading) -> dict[str, object]:
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


def _tag(reading: _Reading) -> dict[str, object]:
    return {"tag": reading.section.take("tag", filled, "")}


def _list(reading: _Reading) -> dict[str, object]:
    return {
        "lists": reading.section.take("list", words(filled), ()),
        "create_if_missing": reading.section.take("create_if_missing", flag, default=False),
    }


def _move(reading: _Reading) -> dict[str, object]:
    return {"campaign": reading.section.take("campaign", key, "")}


def _update(reading: _Reading) -> dict[str, object]:
    section = reading.section
    target = section.take("target", word("contact", "company"), "contact")
    found: list[Op] = []
    for path, item in section.items("ops"):
        try:
            found.append(_one_op(item, path, section))
        except BadValue as bad:
            section.fault(bad.code, path, bad.message, bad.hint)
    return {"target": target, "ops": tuple(found)}


def _one_op(item: object, path: str, section: Section) -> Op:
    if isinstance(item, str):
        return parse_op(item)
    inner = Section(item, path, section.faults)
    verb = inner.take("op", _verb, "")
    name = inner.take("field", filled, "")
    value = inner.take("value", scalar, None)
    enabled = inner.take("enabled", flag, default=True)
    inner.finish()
    if not verb or not name:
        missing = [word for word in ("op", "field") if not inner.given(word)]
        if missing and inner.values:
            raise BadValue(f"`{missing[0]}` is missing", hint="op and field", code="bad_op")
        return Op(op="clear", field="", enabled=False)
    return _op(name, verb, value, enabled=enabled)


def _verb(value: object) -> str:
    try:
        return word(*OPS)(value)
    except BadValue as bad:
        raise BadValue(bad.message, hint=bad.hint, code="bad_op") from bad


def _op(name: str, verb: str, value: object, *, enabled: bool) -> Op:
    if verb in {"clear", "now"} and value is not None:
        raise BadValue(f"`{verb}` takes no value", hint=f"{name} {verb}", code="bad_op")
    if verb in {"set", "add", "remove"} and value is None:
        raise BadValue(f"`{verb}` needs a value", hint="`clear` empties", code="bad_op")
    if verb == "increment":
        value = _amount(value)
    return Op(field=name, value=value, enabled=enabled, **as_fields({"op": verb}))


def _amount(value: object) -> float:
    """What `increment` adds; 1 where nothing is said."""
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if value is None:
        return 1
    if not isinstance(number, int | float) or isinstance(value, bool):
        raise BadValue(f"{shown(value)} is no number", hint="such as 5", code="bad_op")
    if not math.isfinite(number):
        raise BadValue("endless numbers cannot be stored", code="bad_op")
    return int(number) if number == int(number) else number


_OWN: Mapping[str, Callable[[_Reading], dict[str, object]]] = MappingProxyType(
    {
        "email": _email,
        "sms": _sms,
        "update": _update,
        "move": _move,
        **dict.fromkeys(("tag_add", "tag_remove"), _tag),
        **dict.fromkeys(("list_add", "list_remove"), _list),
        **dict.fromkeys(MANUAL_KINDS, _manual),
        "manual_email": _manual_email,
    }
)
"""What each kind has besides the common keys."""
