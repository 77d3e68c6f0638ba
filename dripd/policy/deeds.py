"""What does an internal step do? One performer a kind: effects on facts, and how it came out.

A performer keeps the facts of the lease in step with its effects, so that what follows in the
same pass sees them; what would change nothing is no effect but a `noop`. A kind adds a
function to the table at the end.
"""

from __future__ import annotations

from collections.abc import Mapping

from dripd.campaigns.action import (
    AddTag,
    AddToList,
    MoveTo,
    RemoveFromList,
    RemoveTag,
    ResetRuns,
)
from dripd.campaigns.definition import Step
from dripd.campaigns.enrollment import End, RunStatus
from dripd.campaigns.version import KIND_BITS
from dripd.policy.calls import connect, script
from dripd.policy.fields import update
from dripd.policy.performance import NOOP, NOTHING, Pass, Performed, Performer
from dripd.policy.tasks import TASK_KINDS, task
from dripd.policy.waits import branch, date_timer, wait_for


def _delay(here: Pass, step: Step, step_no: int) -> Performed:
    return NOTHING


def _end(here: Pass, step: Step, step_no: int) -> Performed:
    return Performed(end=End(RunStatus.COMPLETED, "end"))


def _tag_add(here: Pass, step: Step, step_no: int) -> Performed:
    if step.tag in here.leased.tags:
        return NOOP
    here.leased.tags |= {step.tag}
    here.effects.append(AddTag(tag=step.tag))
    here.told |= KIND_BITS["tag_added"]
    return NOTHING


def _tag_remove(here: Pass, step: Step, step_no: int) -> Performed:
    if step.tag not in here.leased.tags:
        return NOOP
    here.leased.tags -= {step.tag}
    here.effects.append(RemoveTag(tag=step.tag))
    here.told |= KIND_BITS["tag_removed"]
    return NOTHING


def _list_add(here: Pass, step: Step, step_no: int) -> Performed:
    fresh = [key for key in step.lists if key not in here.leased.lists]
    here.leased.lists |= set(fresh)
    here.effects += [AddToList(list_key=key, create=step.create_if_missing) for key in fresh]
    here.told |= KIND_BITS["list_added"] if fresh else 0
    return NOTHING if fresh else NOOP


def _list_remove(here: Pass, step: Step, step_no: int) -> Performed:
    """Leaving an attached list ends the run; as the last step it completes it (C31)."""
    going = [key for key in step.lists if key in here.leased.lists]
    here.leased.lists -= set(going)
    here.effects += [RemoveFromList(list_key=key) for key in going]
    definition = here.version.definition
    attached = [key for key in going if key in definition.attached_lists()]
    if attached and definition.policy.on_list_leave == "remove":
        if definition.next_index(step_no) is None:
            return Performed(end=End(RunStatus.COMPLETED, "completed:left_list"))
        return Performed(end=End(RunStatus.REMOVED, f"left_list:{attached[0]}"))
    here.told |= KIND_BITS["list_removed"] if going else 0
    return NOTHING if going else NOOP


def _move(here: Pass, step: Step, step_no: int) -> Performed:
    here.effects.append(MoveTo(campaign_key=step.campaign))
    return Performed(end=End(RunStatus.REMOVED, f"moved:{step.campaign}"))


def _reset(here: Pass, step: Step, step_no: int) -> Performed:
    own = here.version.campaign_key
    key = step.campaign or own
    here.effects.append(ResetRuns(campaign_key=key, own=key == own))
    return NOTHING


PERFORMERS: Mapping[str, Performer] = {
    "delay": _delay,
    "end": _end,
    "tag_add": _tag_add,
    "tag_remove": _tag_remove,
    "list_add": _list_add,
    "list_remove": _list_remove,
    "update": update,
    "move": _move,
    "reset_campaign": _reset,
    "branch": branch,
    "wait_for": wait_for,
    "date_timer": date_timer,
    "script": script,
    "sync": connect,
    "social_follow": connect,
    **dict.fromkeys(TASK_KINDS, task),
}
