"""Branches, events waited for and dates followed, on the facts of the lease."""

from __future__ import annotations

from typing import Any

import pytest

from dripd.campaigns.enrollment import FLAG_WAITING, Change, Recent
from dripd.campaigns.flow import order_of, successors
from dripd.clock import DAY, FAR_FUTURE, HOUR, Instant, format_instant, parse_instant
from dripd.policy.inbox import digest
from dripd.policy.inbox_rows import Poke, Release
from dripd.policy.perform import chain
from tests.support.rooms import NOW, World, email, event, leased, make_version, run, tag

WAIT = {"do": "wait_for", "on": "click", "timeout": "3d", "then": "yes", "else": "no"}
YES, NO = tag("yes", key="yes", next="end"), tag("no", key="no")


def ran(*steps: dict[str, Any], now: Instant = NOW, **keys: Any) -> Change:
    top = keys.pop("top", {})
    return chain(leased(**keys), make_version(*steps, **top), now, World())


def told(change: Change) -> list[tuple[int, str, str | None]]:
    return [(row.step_no, row.state.name, row.reason) for row in change.log]


def test_a_wait_stands_in_its_lane_until_its_timeout_and_is_no_hold() -> None:
    change = ran(WAIT, YES, NO)

    assert change.log == []
    assert change.next is not None
    assert change.next.due_at == NOW + 3 * DAY
    assert (change.next.flags, change.next.hold_reason) == (FLAG_WAITING, None)
    assert change.next.lane is not None
    endless = ran({**WAIT, "timeout": None}, YES, NO).next
    assert endless is not None
    assert endless.due_at == FAR_FUTURE


def test_what_came_since_the_step_before_ends_the_wait_before_it_begins() -> None:
    machine = Recent("click", {"machine": True}, None)
    assert ran(WAIT, YES, NO, recent=(machine,)).next is not None
    change = ran(WAIT, YES, NO, recent=(machine, Recent("click", {}, None)))

    assert told(change) == [(0, "DONE", None), (1, "DONE", None)]


def test_a_wait_that_is_over_goes_on_to_else() -> None:
    change = ran(WAIT, YES, NO, flags=FLAG_WAITING)

    assert told(change) == [(0, "DONE", "expired"), (2, "DONE", None)]


def test_a_wait_asks_for_its_own_match() -> None:
    step = {**WAIT, "on": "tag_added", "tag": "vip"}
    other = Recent("tag_added", {"tag": "other"}, None)

    assert ran(step, YES, NO, recent=(other,)).next is not None
    assert ran(step, YES, NO, recent=(Recent("tag_added", {"tag": "vip"}, None),)).end


def test_no_pass_performs_a_wait_behind_another_step() -> None:
    change = ran(tag("a"), WAIT, YES, NO)

    assert told(change) == [(0, "DONE", None)]
    assert change.next is not None
    assert (change.next.step_no, change.next.due_at) == (1, NOW)


def test_an_event_wakes_a_run_that_waits_for_it_and_pokes_one_that_is_leased() -> None:
    world = World()
    version = world.add(WAIT, YES, NO)
    lane = version.lane_key(0, None, world.zones)
    waiting = run(flags=FLAG_WAITING)

    assert digest([event("click")], [waiting], NOW, world) == [
        Release(waiting.enrollment_id, lane)
    ]
    assert digest([event("open")], [waiting], NOW, world) == []
    assert digest([event("click")], [run(leased=True)], NOW, world) == [
        Poke(waiting.enrollment_id)
    ]
    assert digest([event("click")], [run()], NOW, world) == []
    elsewhere = event("click", campaign_id=99)
    assert digest([elsewhere], [waiting], NOW, world) == []


def test_the_lease_overlooks_no_event_that_a_step_waits_for() -> None:
    plain, waits = make_version(tag()), make_version(WAIT, YES, NO)

    assert not plain.listens("click")
    assert waits.listens("click")
    assert waits.mask("") & ~plain.mask("")


@pytest.mark.parametrize(("attrs", "to"), [({"n": 1}, 1), ({"n": 2}, 3), ({}, 2)])
def test_a_branch_takes_the_first_case_that_holds(attrs: dict[str, object], to: int) -> None:
    cases = [{"when": "attrs.n == 1", "then": "yes"}, {"when": "attrs.n >= 1", "then": "no"}]
    branch = {"do": "branch", "cases": cases, "else": "rest"}
    change = ran(branch, YES, tag("r", key="rest", next="end"), NO, attrs=attrs)

    assert [row.step_no for row in change.log] == [0, to]


def test_a_branch_without_else_goes_on_below() -> None:
    branch = {"do": "branch", "cases": [{"when": "false", "then": "no"}]}

    assert [row.step_no for row in ran(branch, YES, NO).log] == [0, 1]


def timer(**keys: Any) -> dict[str, Any]:
    return {"do": "date_timer", "field": "at", "offset": "-1h", **keys}


def at(instant: int) -> dict[str, object]:
    return {"at": format_instant(Instant(instant))}


def test_a_timer_waits_for_its_date_and_is_done_when_it_comes() -> None:
    change = ran(timer(), tag(), attrs=at(NOW + 5 * HOUR))

    assert change.next is not None
    assert (change.next.due_at, change.next.flags) == (NOW + 4 * HOUR, FLAG_WAITING)
    came = ran(timer(), tag(), attrs=at(NOW + HOUR), flags=FLAG_WAITING, due_at=NOW)
    assert told(came) == [(0, "DONE", None), (1, "DONE", None)]
    late = ran(timer(), tag(), attrs=at(NOW), flags=FLAG_WAITING, due_at=Instant(NOW - HOUR))
    assert told(late)[0] == (0, "DONE", None)


def test_a_date_that_moves_moves_the_timer() -> None:
    woken = {"flags": FLAG_WAITING, "due_at": NOW}
    later = ran(timer(), email(), attrs=at(NOW + 3 * HOUR), **woken).next
    past = ran(timer(), email(), tag(), attrs=at(NOW), **woken)

    assert later is not None
    assert later.due_at == NOW + 2 * HOUR
    assert told(past) == [
        (0, "SKIPPED", "date_past"),
        (1, "SKIPPED", "date_past"),
        (2, "DONE", None),
    ]


@pytest.mark.feature("Q13")
def test_a_timer_that_is_reached_at_its_very_instant_is_not_past() -> None:
    assert told(ran(timer(), tag(), attrs=at(NOW + HOUR)))[0] == (0, "DONE", None)
    assert told(ran(timer(), tag(), attrs=at(NOW + HOUR - 1)))[0] == (0, "SKIPPED", "date_past")


def test_a_past_timer_at_the_end_completes_the_run() -> None:
    change = ran(timer(), attrs=at(NOW))

    assert change.end is not None
    assert told(change) == [(0, "SKIPPED", "date_past")]


@pytest.mark.parametrize(
    ("offset", "top", "due"),
    [
        ("1bd", {}, "2026-03-30T09:00:00Z"),
        ("-3bd", {}, "2026-03-24T10:00:00Z"),
        ("-3bd", {"delay_unit": "calendar"}, "2026-03-24T10:00:00Z"),
        ("3d", {}, "2026-03-30T10:00:00Z"),
        ("3d", {"delay_unit": "calendar"}, "2026-03-30T09:00:00Z"),
        ("1d2h", {"delay_unit": "business"}, "2026-03-30T11:00:00Z"),
    ],
)
def test_the_days_of_an_offset_count_as_those_of_a_delay(
    offset: str, top: dict[str, object], due: str
) -> None:
    """Summer time begins in Berlin on the Sunday after that Friday."""
    change = ran(
        timer(offset=offset),
        tag(),
        now=parse_instant("2026-03-23T10:00:00Z"),
        attrs={"at": "2026-03-27T10:00:00Z"},
        top={"timezone": "Europe/Berlin", "policy": top},
    )

    assert change.next is not None
    assert format_instant(change.next.due_at) == due


@pytest.mark.parametrize(("offset", "due"), [("1bd", FAR_FUTURE), ("-1bd", NOW)])
def test_an_offset_beyond_all_calendars_is_the_last_instant_or_the_first(
    offset: str, due: int
) -> None:
    date = "9999-12-31T23:00:00Z" if due == FAR_FUTURE else "0001-01-01T00:00:00Z"
    change = ran(timer(offset=offset, past="send_now"), tag(), attrs={"at": date})

    if due == FAR_FUTURE:
        assert change.next is not None
        assert change.next.due_at == FAR_FUTURE
    else:
        assert told(change) == [(0, "DONE", None), (1, "DONE", None)]


def test_only_the_timers_own_field_wakes_it() -> None:
    world = World()
    world.add(timer(), tag())
    waiting = run(flags=FLAG_WAITING)

    assert digest([event("field_changed", payload={"field": "at"})], [waiting], NOW, world)
    assert not digest([event("field_changed", payload={"field": "x"})], [waiting], NOW, world)


def test_what_waits_is_no_longer_reset() -> None:
    world = World()
    world.add({**timer(), "delay": "2d", "reset_on_interaction": True}, tag())

    assert digest([event("interaction")], [run(flags=FLAG_WAITING)], NOW, world) == []


def test_every_way_through_a_flow_is_known() -> None:
    cases = [{"when": "true", "then": "yes"}]
    branch = {"do": "branch", "cases": cases, "else": "no"}
    version = make_version(branch, tag("x", key="yes"), tag("y", key="no"))

    assert successors(version.steps) == [(1, 2), (2,), ()]
    assert order_of(version.steps) == [0, 1, 2]
