"""Why does this run wait, and until when? The chain of gates before its next step.

The order is that in which they open: due, pauses, single holds, cap, window, parking. A gate is
in the chain while it is closed at the present instant, or will be when those before it open.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from datetime import date, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from dripd.admin.holds import HOLDS, find_hold
from dripd.campaigns.settings import parse_window
from dripd.campaigns.window import WindowSpec, build_window
from dripd.clock import FAR_FUTURE, Instant, Millis, format_instant
from dripd.errors import DefinitionError
from dripd.policy.gate import goes_at
from dripd.scheduler.calendar import Window

Holidays = Callable[[str], Container[date]]
NEVER = None
"""A gate whose end nobody can tell: somebody must act."""


def explain(row: Mapping[str, Any], holidays: Holidays, margin: Millis) -> dict[str, object]:
    """A row of `read_waits` as `explain` shows it; *margin* is `[engine] window_margin`."""
    now: Instant = row["now_at"]
    chain = [
        {"gate": gate, "until": _text(until), "detail": detail}
        for gate, until, detail in _gates(row, now, holidays, margin)
    ]
    return {
        "enrollment_id": row["enrollment_id"],
        "campaign_key": row["campaign_key"],
        "status": row["status"],
        "end_reason": row["end_reason"],
        "step": _step(row),
        "due_at": _text(row["due_at"]),
        "hold_reason": row["hold_reason"],
        "release_at": _text(row["release_at"]),
        "chain": chain,
        "ready_at": _text(_ready(row, now, holidays, margin)),
    }


def _text(at: Instant | None) -> str | None:
    return None if at is None else format_instant(at)


def _step(row: Mapping[str, Any]) -> dict[str, object] | None:
    if row["step_no"] is None:
        return None
    return {"key": row["step_key"], "index": row["step_no"] + 1, "of": row["steps"]}


def _ready(
    row: Mapping[str, Any], now: Instant, holidays: Holidays, margin: Millis
) -> Instant | None:
    """When every gate will have opened, as far as anybody can tell; None = nobody can."""
    if row["due_at"] is None:
        return None
    untils = [until for _, until, _ in _gates(row, now, holidays, margin)]
    if any(until is NEVER for until in untils):
        return None
    return max([now, *(until for until in untils if until is not None)])


Found = tuple[str, Instant | None, str]


def _gates(
    row: Mapping[str, Any], now: Instant, holidays: Holidays, margin: Millis
) -> Iterator[Found]:
    if row["due_at"] is None:
        return
    if row["due_at"] > now and row["own_hold"] is None:
        yield _due(row)
    yield from _pauses(row)
    if row["own_hold"] is not None:
        told = row["doubt"] or _waits(row["own_hold"], "the step is held by itself")
        yield row["own_hold"], row["own_release_at"], told
    due = max(now, row["due_at"])
    left, ends = row["cap_left"], row["day_ends_at"]
    counted = row["channel"] == "email" and row["cap_policy"] != "none"
    is_spent = counted and left is not None and left <= 0 and due < ends
    if is_spent:
        yield "cap", ends, HOLDS["cap"].waits
        due = ends
    for gate, until, told in _window(row, due, holidays, margin):
        yield gate, until, told
        due = due if until is None else until
    release_at = row["park_release_at"]
    if row["park_reason"] == "cap" and not is_spent and release_at and release_at > due:
        yield "cap", release_at, "its sender has sent what it may in a day: dripd sender limit"
    if row["park_reason"] == "window" and row["park_release_at"] is None:
        yield "window", NEVER, "the account's zone, window or rate cannot be read: dripd doctor"
    if row["park_reason"] not in {None, "window", "cap"}:
        why = _waits(row["park_reason"], "its lane is parked")
        yield row["park_reason"], row["park_release_at"], why


def _due(row: Mapping[str, Any]) -> Found:
    """What has to come before the step is due: its time, its date, an event or an answer."""
    until = NEVER if row["due_at"] == FAR_FUTURE else row["due_at"]
    if row["kind"] == "date_timer":
        return "due", until, "its date has not come"
    if not row["waits"]:
        return "due", until, "its delay has not passed"
    is_event = row["kind"] == "wait_for"
    told = f"it waits for {row['awaited']}" if is_event else "its call is not answered yet"
    return "due", until, told


def _waits(reason: str, else_: str) -> str:
    found = find_hold(reason)
    return else_ if found is None else found.waits


def _pauses(row: Mapping[str, Any]) -> Iterator[Found]:
    if row["account_status"] != "active":
        yield "account_paused", NEVER, HOLDS["account_paused"].waits
    if not row["subscription_active"]:
        yield "no_subscription", NEVER, HOLDS["no_subscription"].waits
    if row["campaign_status"] in {"paused", "inactive", "archived"}:
        gate = "paused" if row["campaign_status"] == "paused" else "inactive"
        yield gate, NEVER, HOLDS[gate].waits


def _window(
    row: Mapping[str, Any], due: Instant, holidays: Holidays, margin: Millis
) -> Iterator[Found]:
    """The window of the lane, if it is closed when the step is due."""
    if not row["calendar"]:
        return
    zone_name = row["timezone"] if row["zone"] == "account" else row["zone"]
    try:
        window = _calendar(row, holidays)
        zone: tzinfo = ZoneInfo(zone_name)
    except (DefinitionError, KeyError, ValueError, OSError, NotImplementedError) as error:
        yield "window", NEVER, f"its window cannot be read: {error}"
        return
    opens = goes_at(window, zone, due, margin)
    if opens is None:
        yield "window", NEVER, "its window never opens"
    elif opens > due:
        yield "window", opens, f"closed until then in {zone_name}"


def _calendar(row: Mapping[str, Any], holidays: Holidays) -> Window | None:
    if row["calendar"] != "account":
        return build_window(WindowSpec.from_text(row["calendar"]), holidays)
    if row["send_window"] is None:
        return None
    spec = parse_window(row["send_window"])
    return None if spec == "off" else build_window(spec, holidays)
