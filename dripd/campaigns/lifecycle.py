"""Where can a run stand, and what leads from there to where? The life-cycle as data.

A step event finds its run `executing`, for only a leased step can be performed. What else
moves a run (a lease, a stop, a release) comes from outside and stands in `OUTSIDE`. Nothing
at work looks it up: the tests hold `advance` to it, and the README's diagram is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from dripd.campaigns.enrollment import Change, RunStatus
from dripd.campaigns.event import (
    Accepted,
    Deferred,
    Done,
    Held,
    Presumed,
    Rejected,
    Retryable,
    Settled,
    Skipped,
    StepEvent,
    Stopped,
    Throttled,
    Uncertain,
    Unknown,
)


class Status(StrEnum):
    """`dripd.enrollment.status`: the first three live, the others are ends."""

    WAITING = "waiting"
    HELD = "held"
    EXECUTING = "executing"
    COMPLETED = "completed"
    REMOVED = "removed"
    TERMINATED = "terminated"


LIVE = frozenset({Status.WAITING, Status.HELD, Status.EXECUTING})
ENDED = frozenset(Status) - LIVE

_ON = (Status.WAITING, Status.COMPLETED)
"""A step is behind the run: the next one waits, or there was none."""

_END_OF: Mapping[RunStatus, Status] = MappingProxyType(
    {
        RunStatus.COMPLETED: Status.COMPLETED,
        RunStatus.REMOVED: Status.REMOVED,
        RunStatus.TERMINATED: Status.TERMINATED,
    }
)

TRANSITIONS: Mapping[tuple[Status, type[StepEvent]], tuple[Status, ...]] = MappingProxyType(
    {
        (Status.EXECUTING, Accepted): _ON,
        (Status.EXECUTING, Unknown): _ON,
        (Status.EXECUTING, Done): _ON,
        (Status.EXECUTING, Skipped): _ON,
        (Status.EXECUTING, Rejected): (*_ON, Status.REMOVED),
        (Status.EXECUTING, Retryable): (Status.WAITING, Status.HELD),
        (Status.EXECUTING, Throttled): (Status.WAITING,),
        (Status.EXECUTING, Deferred): (Status.WAITING,),
        (Status.EXECUTING, Held): (Status.HELD,),
        (Status.EXECUTING, Uncertain): (Status.WAITING,),
        (Status.EXECUTING, Presumed): _ON,
        (Status.EXECUTING, Settled): (*_ON, Status.REMOVED),
        (Status.EXECUTING, Stopped): (
            Status.COMPLETED,
            Status.REMOVED,
            Status.TERMINATED,
        ),
    }
)
"""What a step event may make of its run; which of several the version decides."""

OUTSIDE: Mapping[tuple[Status, str], tuple[Status, ...]] = MappingProxyType(
    {
        (Status.WAITING, "lease"): (Status.EXECUTING,),
        (Status.WAITING, "park"): (Status.HELD,),
        (Status.HELD, "release"): (Status.WAITING,),
        (Status.EXECUTING, "takeover"): (Status.WAITING,),
        (Status.WAITING, "event"): (Status.COMPLETED, Status.REMOVED),
        (Status.HELD, "event"): (Status.COMPLETED, Status.REMOVED),
        (Status.EXECUTING, "event"): (Status.COMPLETED, Status.REMOVED),
        (Status.WAITING, "operator"): (Status.REMOVED, Status.TERMINATED),
        (Status.HELD, "operator"): (Status.REMOVED, Status.TERMINATED),
        (Status.EXECUTING, "operator"): (Status.REMOVED, Status.TERMINATED),
    }
)
"""What moves a run besides its steps. An end while executing marks the leased step."""


def status_of(change: Change) -> Status:
    """Where *change* leaves its run.

    Raises `ValueError` if it says neither or both of where the run goes on and how it ends.
    """
    if (change.next is None) == (change.end is None):
        raise ValueError("a change has either a next step or an end")
    if change.end is not None:
        return _END_OF[change.end.status]
    return Status.WAITING if change.next and change.next.lane is not None else Status.HELD


def diagram() -> str:
    """The life-cycle as a mermaid state diagram, made from the tables above."""
    edges: dict[tuple[str, str], list[str]] = {("[*]", Status.WAITING): ["admit"]}
    for (status, event), targets in TRANSITIONS.items():
        for target in targets:
            edges.setdefault((status, target), []).append(event.__name__.lower())
    for (status, cause), targets in OUTSIDE.items():
        for target in targets:
            edges.setdefault((status, target), []).append(cause)
    for status in Status:
        if status in ENDED:
            edges[status, "[*]"] = []
    lines = ["stateDiagram-v2"]
    for (one, other), causes in edges.items():
        label = f" : {', '.join(causes)}" if causes else ""
        lines.append(f"    {one} --> {other}{label}")
    return "\n".join(lines) + "\n"
