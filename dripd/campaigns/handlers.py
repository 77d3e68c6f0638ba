"""What happens on a click or a form? `on_click` and `on_form`: actions beside the flow.

An action is read as the step of its kind, without the keys that place a step in a flow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dripd.campaigns.definition import Definition, Handler, Step
from dripd.campaigns.kinds import OWN, Reading
from dripd.campaigns.reader import Section, as_fields, filled, shown, suggest, word

ACTIONS = frozenset(
    {"list_add", "list_remove", "tag_add", "tag_remove", "update", "request", "follow_up"}
    | {"sale", "email", "notify_email"}
)
"""The closed set."""

PLACES = {"on_click": ("click", "link"), "on_form": ("form", "form")}
"""The keys of a file: the kind of event, and what names it there."""


def read_handlers(top: Section, campaign: Definition) -> tuple[Handler, ...]:
    """Every handler of the file; *campaign* is what of it has been read."""
    found: list[Handler] = []
    for name, (kind, named) in PLACES.items():
        for path, item in top.items(name):
            section = Section(item, path, top.faults)
            wanted = section.take(named, filled, "")
            if not section.given(named) and section.values:
                section.fault("bad_value", path, f"`{named}` is missing", f"{named}: ID")
            action = _action(section, campaign)
            once = section.take("once_per", word("event", "contact"), "event")
            section.finish()
            found.append(Handler(on=kind, id=wanted, action=action, path=path,
                                 **as_fields({"once_per": once})))  # fmt: skip
    return tuple(found)


def _action(section: Section, campaign: Definition) -> Step:
    kind = section.values.get("do")
    section.given("do")
    if not isinstance(kind, str) or kind not in ACTIONS:
        hint = suggest(str(kind), ACTIONS)
        path = section.path_of("do") if "do" in section.values else section.path
        section.fault("unknown_kind", path, f"unknown action {shown(kind)}", hint)
        return Step(key=section.path, kind="")
    own = OWN[kind](Reading(section, kind, campaign))
    step = Step(key=section.path, kind=kind, **as_fields(own))
    return replace(step, blocking=False, require_approval=False)


def actions_of(definition: Definition) -> Iterator[tuple[str, Step]]:
    """Path and action of every handler that could be read."""
    for handler in definition.handlers:
        if handler.action.kind:
            yield handler.path, handler.action
