"""Does a definition keep to its limits, its windows, its plan and the types of its fields?"""

from __future__ import annotations

from collections.abc import Iterator

from dripd.campaigns.address import is_address
from dripd.campaigns.definition import NOTICE_CHANNELS, Definition, Step
from dripd.campaigns.flow import faults_of, order_of, successors
from dripd.campaigns.handlers import actions_of
from dripd.campaigns.kinds import KINDS
from dripd.campaigns.known import Known, own_matches, steps_of
from dripd.campaigns.ops import typed
from dripd.campaigns.reader import BadValue, suggest
from dripd.campaigns.window import WindowSpec, format_minute
from dripd.campaigns.wording import TEXTS
from dripd.clock import DAY
from dripd.errors import Fault
from dripd.scheduler.diary import WORKING_DAY

FREE_KINDS = KINDS - {"reset_campaign", "script", "sync", "social_follow"}
"""Kinds that every plan has; the others it must name among its features."""


def too_many(definition: Definition, _known: Known) -> Iterator[Fault]:
    most = definition.policy.limits.max_messages
    n = sum(1 for _ in steps_of(definition, "email", "sms"))
    if most is not None and n > most:
        yield Fault(
            code="max_messages",
            path="steps",
            message=f"max_messages {n}>{most}",
            hint="take messages out, or raise policy.limits.max_messages",
        )


def gaps(definition: Definition, _known: Known) -> Iterator[Fault]:
    most = definition.policy.limits.max_gap_days
    if most is None:
        return
    for index, gap in _gaps(definition):
        if gap > most * DAY:
            yield Fault(
                code="max_gap_days",
                path=definition.step_path(index),
                message=f"max_gap_days {-(-gap // DAY)}>{most}",
                hint="shorten the delays since the message before it",
            )


def _gaps(definition: Definition) -> Iterator[tuple[int, int]]:
    """Index of each message and the longest wait since the one before it, in ms."""
    steps, follows = definition.steps, successors(definition.steps)
    reached: dict[int, tuple[int, int | None]] = dict.fromkeys(definition.starts(), (0, None))
    for index in order_of(steps, definition.starts()):
        before, last = reached[index]
        at = _earliest(steps[index], before)
        if steps[index].is_message:
            if last is not None:
                yield index, at - last
            last = at
        for to in follows[index]:
            reached[to] = max(reached.get(to, (at, last)), (at, last), key=_since)


def _since(reached: tuple[int, int | None]) -> tuple[bool, int]:
    at, last = reached
    return last is not None, at - (last or 0)


def _earliest(step: Step, before: int) -> int:
    """The earliest instant of a step, in ms after the start.

    A business day counts as 24 hours, which it is at least; a wait may be over at once.
    """
    timing = step.timing
    delay = timing.delay
    length = (delay.days + delay.business_days) * DAY + delay.ms
    if timing.day is not None:
        return max(before, (timing.day - timing.day_base) * DAY)
    return max(before, length) if timing.anchor == "after_start" else before + length


def unplanned(definition: Definition, known: Known) -> Iterator[Fault]:
    for path, step in () if known.features is None else steps_of(definition):
        if step.kind not in FREE_KINDS | (known.features or frozenset()):
            yield Fault(
                code=f"plan_feature:{step.kind}",
                path=f"{path}.do",
                message=f"step {step.key!r}: the account's plan has no {step.kind!r}",
                hint="change the plan, or take the step out",
            )


def dynamic_lists(definition: Definition, known: Known) -> Iterator[Fault]:
    for path, step in steps_of(definition, "list_add", "list_remove"):
        for key in step.lists:
            if known.lists is not None and known.lists.get(key) is False:
                yield Fault(
                    code="not_static",
                    path=f"{path}.list",
                    message=f"step {step.key!r}: the members of {key!r} are computed",
                    hint="name a static list",
                )


def unfit_ops(definition: Definition, known: Known) -> Iterator[Fault]:
    types = {**TEXTS, **known.field_types, **definition.fields}
    for path, step in steps_of(definition, "update"):
        for index, op in enumerate(step.ops):
            name = op.field.removeprefix("attrs.").removeprefix("contact.")
            scope = "" if step.target == "contact" else "company."
            try:
                typed(op, types.get(scope + name.removeprefix(scope), ""))
            except BadValue as bad:
                yield Fault(
                    code=bad.code,
                    path=f"{path}.ops[{index}]",
                    message=f"step {step.key!r}: {bad.message}",
                    hint=bad.hint,
                )


def unfit_recipients(definition: Definition, _known: Known) -> Iterator[Fault]:
    """Whom a notice tells, where the file itself says it and not the contact."""
    for path, step in (*steps_of(definition), *actions_of(definition)):
        channel = NOTICE_CHANNELS.get(step.kind, "")
        if (
            channel
            and step.to
            and "{" not in step.to
            and not is_address(step.to.strip(), channel)
        ):
            what = "mail address" if channel == "email" else "number"
            yield Fault(
                code="bad_value",
                path=f"{path}.to",
                message=f"{step.to!r} is no {what}: nobody would be told",
                hint="one address, or a merge tag of a field that holds it",
            )


def unfit_slots(definition: Definition, _known: Known) -> Iterator[Fault]:
    """No diary has a free time that is longer than a working day, or none at all."""
    for path, step in steps_of(definition, "follow_up"):
        slot = step.activity.slot_ms
        if slot is not None and not 0 < slot <= WORKING_DAY:
            yield Fault(
                code="bad_value",
                path=f"{path}.duration",
                message="no working day has room for it",
                hint="between 1m and 8h: slots are found between 09:00 and 17:00",
            )


def unknown_zones(definition: Definition, known: Known) -> Iterator[Fault]:
    zone = definition.timezone
    if known.zones is not None and zone not in {"account", "contact"} | known.zones:
        yield Fault(
            code="bad_value",
            path="timezone",
            message=f"unknown zone {zone!r}",
            hint=suggest(zone, known.zones) or "such as Europe/Berlin",
        )
    for path, spec in windows_of(definition):
        for name in spec.holidays:
            dated = name[:1].isdigit()
            if known.calendars is not None and not dated and name not in known.calendars:
                yield Fault(
                    code="bad_value",
                    path=f"{path}.holidays",
                    message=f"unknown calendar {name!r}",
                    hint=suggest(name, known.calendars) or "such as DE-BE",
                )


def windows_of(definition: Definition) -> Iterator[tuple[str, WindowSpec]]:
    """Path and window of every one that the file gives."""
    if isinstance(definition.window, WindowSpec):
        yield "window", definition.window
    for path, step in steps_of(definition):
        if isinstance(step.window, WindowSpec):
            yield f"{path}.window", step.window


def outside_window(definition: Definition, known: Known) -> Iterator[Fault]:
    for path, step in steps_of(definition):
        found = definition.window_of(step)
        window = known.window if found == "account" else found
        for name in ("send_at", "day_at"):
            at = getattr(step.timing, name)
            if isinstance(window, WindowSpec) and isinstance(at, int) and not _in(window, at):
                yield Fault(
                    code="send_at_outside_window",
                    path=f"{path}.{name}",
                    message=f"step {step.key!r}: {format_minute(at)} is outside its window",
                    hint=f"{format_minute(window.opens)} to {format_minute(window.closes)}",
                )


def _in(window: WindowSpec, minute: int) -> bool:
    if window.opens < window.closes:
        return window.opens <= minute < window.closes
    return minute >= window.opens or minute < window.closes


def unknown_calls(definition: Definition, known: Known) -> Iterator[Fault]:
    """Scripts that the configuration does not name, connectors that the account does not have."""
    for path, step in steps_of(definition, "script", "sync"):
        what = "script" if step.kind == "script" else "connector"
        names = known.scripts if what == "script" else known.connectors
        if step.called and names is not None and step.called not in names:
            make = (
                "name it in [script.NAME]" if what == "script" else "dripd connector set NAME"
            )
            yield Fault(
                code=f"unknown_{what}",
                path=f"{path}.{what}",
                message=f"step {step.key!r}: there is no {what} {step.called!r}",
                hint=suggest(step.called, names) or make,
            )


def unreachable(definition: Definition, _known: Known) -> Iterator[Fault]:
    steps = definition.steps
    if any(True for _ in faults_of(definition)):
        return
    reached = set(order_of(steps, definition.starts()))
    for index, step in enumerate(steps):
        if index not in reached:
            yield Fault(
                code="unreachable",
                path=definition.step_path(index),
                message=f"step {step.key!r} is never reached",
                hint="let a step go on to it, or take it out",
            )


def unknown_steps(definition: Definition, _known: Known) -> Iterator[Fault]:
    """Matches that ask for a step which the campaign has not: no event would ever fit."""
    keys = [step.key for step in definition.steps]
    for path, key in _asked_steps(definition):
        if key not in keys:
            yield Fault(
                code="dangling",
                path=path,
                message=f"{key!r} is no step of this campaign",
                hint=suggest(key, keys) or "name a step's key, or leave `step` out",
            )


def _asked_steps(definition: Definition) -> Iterator[tuple[str, str]]:
    """Where a match of this campaign's own events asks for a step, and for which."""
    for path, match in own_matches(definition):
        if "step" in match.params:
            yield f"{path}.step", str(match.params["step"])


def contradictions(definition: Definition, _known: Known) -> Iterator[Fault]:
    policy = definition.policy
    if policy.reentry.mode == "always" and policy.exclusivity.scope != "none":
        yield Fault(
            code="bad_value",
            path="policy",
            message="`reentry: always` lets runs overlap, `exclusivity` forbids it",
            hint="exclusivity: none, or reentry: after_end",
        )
    most = policy.limits.max_gap_days
    n = sum(1 for _ in steps_of(definition, "email", "sms"))
    if most is not None and n > 1 and policy.min_gap_ms > most * DAY:
        yield Fault(
            code="max_gap_days",
            path="policy.min_gap",
            message=f"two messages lie at least {-(-policy.min_gap_ms // DAY)} days apart: "
            f"max_gap_days {most}",
            hint="a shorter min_gap, or raise policy.limits.max_gap_days",
        )


def no_time_left(definition: Definition, _known: Known) -> Iterator[Fault]:
    """Every step is late by a little: one that may not be is always skipped."""
    for path, step in steps_of(definition):
        lateness = step.max_lateness
        skips = lateness is not None and lateness.then == "skip" and lateness.after_ms == 0
        for name, is_none in (
            ("expires_after", step.expires_after_ms == 0),
            ("max_lateness.after", skips),
        ):
            if is_none:
                yield Fault(
                    code="bad_value",
                    path=f"{path}.{name}",
                    message=f"step {step.key!r} has no time to be performed in: it would always be late",
                    hint="such as 2h; to have it at once or never, 1m",
                )
