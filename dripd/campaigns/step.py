"""How is one step of a campaign file read? The keys that every kind has, and their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dripd.campaigns.definition import Content, Definition, MaxLateness, Sequence, Step
from dripd.campaigns.flow import goes_below
from dripd.campaigns.kinds import KINDS, OWN, Reading, nothing, read_condition
from dripd.campaigns.reader import (
    Section,
    as_fields,
    delay,
    duration,
    filled,
    flag,
    minute,
    shown,
    step_key,
    text,
    whole,
    word,
)
from dripd.campaigns.settings import read_goal, read_triggers, read_window
from dripd.errors import near
from dripd.scheduler.due import Delay, Timing

MAX_DAY = 3660
"""Ten years, as the longest delay."""


def read_flow(
    top: Section, campaign: Definition
) -> tuple[tuple[Step, ...], tuple[Sequence, ...]]:
    """Every step of the file, and its sequences; *campaign* is all the rest, already read."""
    seen: set[str] = set()
    if not top.given("sequences"):
        return tuple(_steps(top, campaign, seen)), ()
    if top.given("steps"):
        path = top.path_of("steps")
        top.fault("bad_value", path, "`steps` and `sequences` exclude each other", "give one")
    steps: list[Step] = []
    found: list[Sequence] = []
    for path, item in top.items("sequences"):
        inner = Section(item, path, top.faults)
        mine = _closed(_steps(inner, campaign, seen))
        found.append(_sequence(inner, found, len(steps), mine))
        steps += mine
    if not found:
        top.fault("missing:steps", "sequences", "there are no sequences", "add at least one")
    return tuple(steps), tuple(found)


def _sequence(
    section: Section, before: list[Sequence], start: int, steps: list[Step]
) -> Sequence:
    name = section.take("key", step_key, "")
    if not name or name in {one.key for one in before}:
        path = section.path_of("key") if section.given("key") else section.path
        section.fault("bad_value", path, "a sequence has a key of its own")
    entries = read_triggers(section, "on")
    if before and not entries:
        section.fault("bad_value", section.path, "only the first needs no `on`", "on: [{...}]")
    goal = read_goal(section)
    section.finish()
    return Sequence(key=name, start=start, stop=start + len(steps), on=entries, goal=goal)


def _closed(steps: list[Step]) -> list[Step]:
    """A sequence ends with its last step: no run goes on into the one below it."""
    if steps and goes_below(steps[-1]):
        steps[-1] = replace(steps[-1], next="end")
    return steps


def _steps(section: Section, campaign: Definition, seen: set[str]) -> list[Step]:
    found: list[Step] = []
    for path, item in section.items("steps"):
        step = _step(Section(item, path, section.faults), campaign)
        if step.key in seen and step.key:
            message = f"there is another step {step.key!r}"
            section.fault("bad_value", f"{path}.key", message, "a key stays with its step")
        seen.add(step.key)
        found.append(step)
    if not found and not (section.given("steps") and section.values["steps"] != []):
        path = section.path_of("steps") if section.given("steps") else section.path
        section.fault("missing:steps", path, "there are no steps", "add at least one")
    return found


def _step(section: Section, campaign: Definition) -> Step:
    name = section.take("key", step_key, "")
    if not section.given("key") and section.values:
        section.fault("missing:key", section.path, "the step has no key", "add `key: ...`")
    kind = _kind(section, name)
    reading = Reading(section, kind, campaign)
    own = OWN.get(kind, nothing)(reading)
    common = _common(reading)
    if kind:  # else nobody knows which keys are its own
        section.finish()
    label = own.get("title") or _subject(own)
    common["name"] = section.take("name", text, str(label))
    return Step(key=name or section.path, kind=kind, **as_fields({**common, **own}))


def _subject(own: Mapping[str, object]) -> str:
    found = own.get("content")
    return found.subject if isinstance(found, Content) else ""


def _kind(section: Section, name: str) -> str:
    """The kind, else "" and a fault."""
    if not section.given("do"):
        if section.values:
            section.fault("missing:do", section.path, "the step has no kind", "add `do: email`")
        return ""
    kind = section.values["do"]
    if isinstance(kind, str) and kind in KINDS:
        return kind
    path, named = section.path_of("do"), f"step {name!r}: " if name else ""
    message = f"{named}unknown kind {shown(kind)}"
    known = sorted(KINDS)
    section.fault(
        "unknown_kind", path, message, near(str(kind), known, f"one of: {' '.join(known)}")
    )
    return ""


def _common(reading: Reading) -> dict[str, object]:
    section = reading.section
    section.given("name")
    return {
        "timing": _timing(reading),
        "when": section.take("when", read_condition, None),
        "next": section.take("next", filled, None),
        "window": read_window(section),
        "expires_after_ms": section.take("expires_after", duration, None),
        "max_lateness": _max_lateness(section),
        "reset_on_interaction": section.take("reset_on_interaction", flag, default=False),
    }


def _timing(reading: Reading) -> Timing:
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
