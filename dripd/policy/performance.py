"""What is a performer given, and what does it answer? The values of one pass over steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from dripd.campaigns.action import Effect
from dripd.campaigns.definition import Step
from dripd.campaigns.enrollment import FLAG_WAITING, End, Leased, LogRow, LogState
from dripd.campaigns.event import Held, Skipped
from dripd.campaigns.template import Missing, Template, Unrenderable, render
from dripd.campaigns.version import Version
from dripd.clock import Instant
from dripd.policy.facts import lookup
from dripd.policy.rooms import Rooms, zone_of


@dataclass(slots=True)
class Pass:
    """One pass over internal steps: what it wants written, and where it stands."""

    leased: Leased
    version: Version
    now: Instant
    rooms: Rooms
    log: list[LogRow]
    effects: list[Effect]
    seq: int
    told: int = 0

    def resumes(self, step_no: int) -> bool:
        """Has the step begun in an earlier pass, and waits since?"""
        here = step_no == self.leased.step_no and not self.log
        return here and bool(self.leased.flags & FLAG_WAITING)


class Performed(NamedTuple):
    """How a step came out, and whether the run ends with it.

    `to` is the step to go on to, where the step itself decides. `passes` is the index of one
    that is skipped with it, for the same reason.
    """

    reason: str | None = None
    end: End | None = None
    state: LogState = LogState.DONE
    channel: int = 0
    to: str | None = None
    passes: int | None = None


class Waiting(NamedTuple):
    """The step has begun and is judged again: at `until`, or once what it waits for came.

    `reason`: a person decides (`approval`, `task`). `flags`: how the step stands from then on.
    """

    until: Instant | None
    reason: str | None = None
    flags: int = FLAG_WAITING


Verdict: TypeAlias = Performed | Waiting | Skipped | Held

Performer: TypeAlias = Callable[[Pass, Step, int], Verdict]

NOTHING = Performed()
NOOP = Performed("noop")


def words(here: Pass, template: Template) -> str | Held:
    """*template* for the contact, or what holds the step."""
    zone = zone_of(here.rooms, here.version, here.leased.account_id, here.leased.timezone)
    missing = here.version.definition.policy.missing_tag
    part = render(template, lookup(here.leased), zone, missing=missing)
    return part if isinstance(part, str) else unrendered(part)


def unrendered(part: Missing | Unrenderable) -> Held:
    if isinstance(part, Missing):
        return Held(reason=f"missing_tag:{part.tag}")
    if part.reason.startswith("bad_date") or part.reason == "too_long":
        return Held(reason=part.reason)
    return Held(reason="quarantined", failed=part.reason)
