"""In what order do steps follow each other? The one path from the first step to the end.

A skipped step goes on like a performed one, so every step has one successor and the whole
flow is a path; conditions choose what is performed, not where it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dripd.campaigns.definition import Step
from dripd.campaigns.reader import suggest
from dripd.clock import DAY
from dripd.errors import Fault
from dripd.scheduler.due import Delay


def successors(steps: Sequence[Step]) -> list[int | None]:
    """For each step the index of the next one, None at an end (and for a dangling `next`)."""
    places = places_of(steps)
    return [_successor(index, steps, places) for index in range(len(steps))]


def places_of(steps: Sequence[Step]) -> dict[str, int]:
    """The index of each key."""
    return {step.key: index for index, step in enumerate(steps)}


def _successor(index: int, steps: Sequence[Step], places: Mapping[str, int]) -> int | None:
    step = steps[index]
    if step.next == "end" or (step.kind == "end" and step.when is None):
        return None
    if step.next is not None:
        return places.get(step.next)
    return index + 1 if index + 1 < len(steps) else None


def path_of(steps: Sequence[Step]) -> list[int]:
    """The steps that are reached, in order; stops where a cycle would begin. O(n)."""
    follows = successors(steps)
    found: list[int] = []
    seen: set[int] = set()
    at: int | None = 0 if steps else None
    while at is not None and at not in seen:
        seen.add(at)
        found.append(at)
        at = follows[at]
    return found


def faults_of(steps: Sequence[Step]) -> Iterator[Fault]:
    """Yield a `dangling` for every `next` that leads nowhere, a `cycle` for every loop."""
    places = places_of(steps)
    for index, step in enumerate(steps):
        if step.next is not None and step.next != "end" and step.next not in places:
            yield Fault(
                code="dangling",
                path=f"steps[{index}].next",
                message=f"step {step.key!r} goes on to {step.next!r}, which is no step",
                hint=suggest(step.next, (key for key in places if "[" not in key))
                or "name a step's key, or `end`",
            )
    for index in _closing(successors(steps)):
        yield Fault(
            code="cycle",
            path=f"steps[{index}].next",
            message=f"step {steps[index].key!r} leads back to itself",
            hint="a run must end; let an event start the next one",
        )


def _closing(follows: Sequence[int | None]) -> Iterator[int]:
    """The last edge of each loop, found by walking from every step once."""
    walk: dict[int, int] = {}
    for start in range(len(follows)):
        at: int | None = start
        came = start
        while at is not None and at not in walk:
            walk[at] = start
            came, at = at, follows[at]
        if at is not None and walk[at] == start:
            yield came


def moved_by_delays(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Under `anchor: after_start`, let each `delay` step move all that follow it.

    The delay step itself counts from the step before it. A day number moves by whole days,
    what is left of a day counting as one.
    """
    moved = list(steps)
    shift = Delay()
    for index in path_of(steps):
        step = steps[index]
        if step.timing.anchor != "after_start":
            continue
        if step.kind == "delay":
            timing = replace(step.timing, anchor="after_previous")
            shift = _sum(shift, step.timing.delay)
        elif step.timing.day is not None:
            timing = replace(step.timing, day=step.timing.day + _whole_days(shift))
        else:
            timing = replace(step.timing, delay=_sum(shift, step.timing.delay))
        moved[index] = replace(step, timing=timing)
    return tuple(moved)


def _sum(one: Delay, other: Delay) -> Delay:
    return Delay(
        days=one.days + other.days,
        business_days=one.business_days + other.business_days,
        ms=one.ms + other.ms,
    )


def _whole_days(shift: Delay) -> int:
    return shift.days + shift.business_days - (-shift.ms // DAY)
