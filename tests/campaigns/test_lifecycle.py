"""The life-cycle is data: every step event has a row, ends absorb, and the diagram is it."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from dripd.campaigns.enrollment import Change, End, LaneKey, Next, RunStatus
from dripd.campaigns.event import Outcome, StepEvent
from dripd.campaigns.lifecycle import (
    ENDED,
    LIVE,
    OUTSIDE,
    TRANSITIONS,
    Status,
    diagram,
    status_of,
)
from dripd.clock import Instant
from tests.support.rooms import leased

LANE = LaneKey(10, 0, "", "", "account")


def test_every_step_event_has_a_row_and_only_an_executing_run_has_one() -> None:
    events = set(get_args(StepEvent))

    assert events >= set(get_args(Outcome))
    assert {event for _, event in TRANSITIONS} == events
    assert {status for status, _ in TRANSITIONS} == {Status.EXECUTING}


def test_ends_absorb() -> None:
    leaving = {status for status, _ in (*TRANSITIONS, *OUTSIDE)}

    assert leaving.isdisjoint(ENDED)
    assert leaving == LIVE


def test_every_status_can_be_reached() -> None:
    reached = {Status.WAITING}
    for targets in (*TRANSITIONS.values(), *OUTSIDE.values()):
        reached |= set(targets)

    assert reached == set(Status)


def test_the_diagram_has_an_edge_for_every_row_and_no_other() -> None:
    drawn = set()
    for one, other, causes in re.findall(r"    (\S+) --> (\S+)(?: : (.+))?\n", diagram()):
        drawn |= {(one, other, cause) for cause in causes.split(", ") if cause}
    rows = {
        (status.value, target.value, event.__name__.lower())
        for (status, event), targets in TRANSITIONS.items()
        for target in targets
    }
    rows |= {
        (status.value, target.value, cause)
        for (status, cause), targets in OUTSIDE.items()
        for target in targets
    }

    assert drawn == rows | {("[*]", "waiting", "admit")}
    assert diagram().startswith("stateDiagram-v2\n")
    assert diagram().count("--> [*]\n") == len(ENDED)


def test_a_change_says_where_the_run_stands() -> None:
    waits = Next(due_at=Instant(1), lane=LANE, step_no=0, seq=1)
    held = Next(due_at=Instant(1), lane=None, step_no=0, seq=1, hold_reason="task")
    gone = End(RunStatus.TERMINATED, "stopped")

    assert status_of(Change(leased(), [], next=waits)) is Status.WAITING
    assert status_of(Change(leased(), [], next=held)) is Status.HELD
    assert status_of(Change(leased(), [], end=gone)) is Status.TERMINATED


def test_a_change_that_says_nothing_or_two_things_is_none() -> None:
    waits = Next(due_at=Instant(1), lane=LANE, step_no=0, seq=1)

    for change in (
        Change(leased(), []),
        Change(leased(), [], next=waits, end=End(RunStatus.REMOVED, "reply")),
    ):
        with pytest.raises(ValueError, match="either a next step or an end"):
            status_of(change)
